"""Each test that uses Ray is in one of the two parts that `make test` runs, in whatever file it stands."""

import re
import shlex
import shutil

import pytest

from tests.repository import ROOT

pytest_plugins = ["pytester"]

USES_RAY = "def test_it(local_ray): pass\n"
FILES = (
    "raytune_infer/study/test_a.py", "docs/test_b.py", "benchmarks/test_chaos.py", "test_new.py",
    "new/folder/test_c.py",
)  # fmt: skip


@pytest.fixture
def house(pytester: pytest.Pytester) -> pytest.Pytester:
    """A folder with tests of its own, and our conftest."""
    pytester.makeini("[pytest]\nmarkers =\n    ray: a\n    slow: b\n")
    pytester.mkdir("tests")
    shutil.copy(ROOT / "tests" / "conftest.py", pytester.path / "tests")
    return pytester


def collected(house: pytest.Pytester, *words: str) -> list[str]:
    """Files of which a test is collected, in this order."""
    said = house.runpytest_inprocess(
        "--collect-only", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", *words
    )
    return [line.split("::")[0].removeprefix("tests/") for line in said.outlines if "::" in line]


def test_the_parts_of_the_makefile_leave_no_test_out_and_run_none_twice(house):
    commands = re.findall(r"\$\(BIN\)/pytest (.*?)(?: >|;)", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert commands == [
        '-m "not ray and not slow" -n 2 --dist worksteal',
        '-m "ray and not slow" --part others -n 1',
        '-m "ray and not slow" --part studies -n 1',
    ]
    commands = [command.split(" -n ")[0] for command in commands]  # what runs; the rest says in how many processes
    for name in FILES:
        file = house.path / "tests" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(USES_RAY, encoding="utf-8")
    (house.path / "tests" / "test_pure.py").write_text("def test_it(): pass\n", encoding="utf-8")
    pure, others, studies = (collected(house, *shlex.split(c)) for c in commands)
    assert pure == ["test_pure.py"]
    assert set(studies) == {"raytune_infer/study/test_a.py", "docs/test_b.py"}
    assert sorted(others + studies) == sorted(FILES)


def test_a_part_imports_only_files_that_can_have_its_tests(house):
    for name in ("test_pure.py", "raytune_infer/test_a.py"):
        file = house.path / "tests" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"print('{name} was imported')\n{USES_RAY if 'a.py' in name else ''}", encoding="utf-8")
    (house.path / "tests" / "test_b.py").write_text(USES_RAY, encoding="utf-8")
    said = house.runpytest_inprocess("-q", "-s", "--collect-only", "-p", "no:cacheprovider", "--part", "others")
    assert "was imported" not in said.stdout.str() and said.ret == 0


def test_a_test_that_no_part_would_run_ends_the_run_of_those_that_compute(house):
    """It uses the cluster by way of a fixture of another file, so its own does not name it."""
    (house.path / "tests" / "here").mkdir()
    fixture = "import pytest\n\n@pytest.fixture\ndef served(local_ray): pass\n"
    (house.path / "tests" / "here" / "conftest.py").write_text(fixture, encoding="utf-8")
    (house.path / "tests" / "here" / "test_a.py").write_text("def test_it(served): pass\n", encoding="utf-8")
    said = house.runpytest_inprocess("-q", "--collect-only", "-p", "no:cacheprovider", "-m", "not ray")
    assert said.ret == pytest.ExitCode.USAGE_ERROR
    said.stderr.fnmatch_lines(["*no part runs the Ray tests of *test_a.py*"])


def test_those_that_share_a_cluster_come_last(house):
    (house.path / "tests" / "test_a.py").write_text(USES_RAY, encoding="utf-8")
    (house.path / "tests" / "test_b.py").write_text("def test_its_own(ray_starts_alone): pass\n", encoding="utf-8")
    assert collected(house) == ["test_b.py", "test_a.py"]


def test_nothing_that_is_set_where_tests_are_started_reaches_them(house, monkeypatch):
    """A git hook names its own repository, a job on a cluster that cluster, a CI its terminal."""
    elsewhere = ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE", "RAY_ADDRESS", "GITHUB_ACTIONS", "FORCE_COLOR")
    for name in elsewhere:
        monkeypatch.setenv(name, "1")
    (house.path / "tests" / "test_a.py").write_text(
        f"import os\n\ndef test_it():\n    assert not {set(elsewhere)} & os.environ.keys()\n", encoding="utf-8"
    )
    house.runpytest_subprocess("-q", "-p", "no:cacheprovider").assert_outcomes(passed=1)
