"""Faults put in on purpose: which are drawn, which tests mirror a module, and what the tests say of a fault."""

import ast
import itertools
import json
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from tests.mutants.__main__ import arguments, chosen, lines_around, state_of
from tests.mutants.areas import AREAS, LEFT_OUT, ROOT, judged
from tests.mutants.fault import Fault, changed
from tests.mutants.mirrors import Mirrors
from tests.mutants.named import named
from tests.mutants.report import Tried, report
from tests.mutants.sampling import KINDS, sample
from tests.mutants.trying import Outcome

SOURCE = '''\
"""Words stay."""
from dataclasses import dataclass

LEFT = "text"


@dataclass(frozen=True)
class Box:
    width: int | None = None


def area(width: int | None, height=2, *, doubled=False):
    if doubled:
        width = min(width, 5)
    return width * height if width is not None else f(width, height)
'''


def written(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def drawn(root: Path, seed: int = 0) -> list[Fault]:
    return list(sample(["shapes.py"], seed, written(root, {"shapes.py": SOURCE})))


def test_everything_that_can_be_changed_is_drawn_once(tmp_path):
    lines = Counter(f.now for f in drawn(tmp_path))
    for kind in [
        "def area(width: int | None, height=3, *, doubled=False):",
        "def area(width: int | None, height=2, *, doubled=True):",
        'LEFT = None',
        "if True:",
        "if False:",
        "width = max(width, 5)",
        "width = min(width, 6)",
        "width = min(width, )",
        "width = None",
        "return width / height if width is not None else f(width, height)",
        "return width * height if width is None else f(width, height)",
        "return width * height if (width is not None) and False else f(width, height)",
        "return width * height if width is not None else f(None, height)",
    ]:  # fmt: skip
        assert lines[kind] == 1, kind


def test_words_annotations_and_decorators_stay(tmp_path):
    for fault in drawn(tmp_path):
        assert "frozen=True" in fault.source
        assert "int | None" in fault.source and fault.source.count("int | None") == 2
        assert '"""Words stay."""' in fault.source
        assert '"text"' in fault.source or fault.was == 'LEFT = "text"'


def test_a_seed_gives_the_same_faults_and_another_one_others(tmp_path):
    first = [f.key for f in drawn(tmp_path)]
    assert [f.key for f in drawn(tmp_path)] == first
    other = [f.key for f in drawn(tmp_path, seed=1)]
    assert other != first
    assert set(other) == set(first)


def test_kinds_take_turns_over_what_is_judged():
    faults = list(itertools.islice(sample(judged("cluster/inventory.py"), seed=0), 5 * len(KINDS)))
    assert Counter(f.kind for f in faults) == dict.fromkeys(KINDS, 5)
    assert {f.path for f in faults} <= set(judged())


def test_all_areas_have_files():
    assert set(judged().values()) == set(AREAS)
    assert all(any(ROOT.glob(pattern)) for patterns in AREAS.values() for pattern in patterns)
    assert all((ROOT / path).is_file() for path in LEFT_OUT)


def test_a_change_of_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"nothing changes nothing in shapes\.py"):
        changed(written(tmp_path, {"shapes.py": SOURCE}), "shapes.py", "nothing", SOURCE)


def test_faults_with_a_name_fit_the_code_as_it_is_and_no_two_make_the_same_change():
    faults = list(named())
    assert max(Counter(f.kind for f in faults).values()) == 1
    names = defaultdict(list)
    for fault in faults:
        ast.parse(fault.source, fault.path)
        names[fault.path, fault.source].append(fault.kind)
    assert [same for same in names.values() if len(same) > 1] == []


@pytest.mark.parametrize(("old", "times"), [("width: str", 0), ("width", 7)])
def test_a_named_fault_whose_code_has_moved_on_is_refused(tmp_path, old, times):
    written(
        tmp_path, {"shapes.py": SOURCE, "faults/odd.yaml": f'[{{name: odd, file: shapes.py, old: "{old}", new: x}}]'}
    )
    with pytest.raises(ValueError, match=rf"odd\.yaml: 'odd' changes '{old}', which is in shapes\.py {times} times"):
        list(named(tmp_path, tmp_path / "faults"))


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (
            "{name: odd, fil: shapes.py, old: a, new: b}",
            "a fault has file, name, new, old and perhaps ray, not {'name'",
        ),
        ("{name: odd, file: gone.py, old: a, new: b}", "'odd' is in gone.py, which is no file any more"),
    ],
)
def test_a_named_fault_that_is_none_is_refused(tmp_path, entry, said):
    written(tmp_path, {"shapes.py": SOURCE, "faults/odd.yaml": f"[{entry}]"})
    with pytest.raises(ValueError, match=re.escape(f"odd.yaml: {said}")):
        list(named(tmp_path, tmp_path / "faults"))


@pytest.mark.parametrize(
    ("words", "count", "skipped"),
    [(["--named", "--only", "cluster/prices.py"], None, 0), (["--only", "cluster/prices.py", "--count", "3"], 3, 0)],
)
def test_faults_are_chosen_by_place(words, count, skipped):
    faults, left_out = chosen(arguments(words))
    assert {f.path for f in faults} == {"cluster/prices.py"} and left_out == skipped
    assert count is None or len(faults) == count


@pytest.mark.parametrize("words", [["--only", "no-such/"], ["--named", "--fault", "no such fault"]])
def test_where_no_fault_fits_that_is_said(words):
    with pytest.raises(SystemExit, match="no fault fits"):
        chosen(arguments(words))


def test_a_python_without_our_libraries_says_so_in_a_sentence():
    bare = [sys.executable, "-S", "-m", "tests.mutants"]
    ended = subprocess.run(bare, cwd=ROOT, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True)
    assert ended.returncode == 1 and re.fullmatch(r"\S+ has no \w+: run `make install`, .*\n", ended.stderr)


def test_tests_mirror_what_they_import_and_else_what_leads_there(tmp_path):
    mirrors = Mirrors(
        written(tmp_path, {
            "searchers/__init__.py": "from searchers.handed_on import shape\n",
            "searchers/handed_on.py": "def shape(): ...\n",
            "searchers/deep.py": "",
            "searchers/user.py": "from searchers import deep\n",
            "searchers/unseen.py": "",
            "searchers/inner/stood_in_for.py": "",
            "tests/helper.py": "import searchers.user\n",
            "tests/test_deep_down.py": "from tests.helper import x\n",
            "tests/test_handed_on.py": "def test():\n    from searchers import shape\n",
            "tests/a/test_other.py": "from searchers import shape\nimport searchers.user\n",
            "tests/fakes.py": "WHERE = 'searchers.inner.stood_in_for.Clock.now'\nSAID = 'searchers.unseen is a text'",
            "tests/test_with_a_fake.py": "from tests.fakes import WHERE\n",
        })
    )  # fmt: skip
    assert mirrors.of("searchers/handed_on.py") == ["tests/test_handed_on.py", "tests/a/test_other.py"]
    assert mirrors.of("searchers/user.py") == ["tests/a/test_other.py", "tests/test_deep_down.py"]
    assert mirrors.of("searchers/deep.py") == ["tests/a/test_other.py", "tests/test_deep_down.py"]
    assert mirrors.of("searchers/inner/stood_in_for.py") == ["tests/test_with_a_fake.py"]
    with pytest.raises(LookupError, match=r"no test imports searchers/unseen\.py"):
        mirrors.of("searchers/unseen.py")


def test_every_judged_file_has_tests():
    mirrors = Mirrors(ROOT)
    assert all(mirrors.of(path) for path in judged())


TRIED = """\
import json, sys
from pathlib import Path
from tests.mutants.fault import changed
from tests.mutants.trying import copy_of, in_place, run_tests

copy = copy_of(Path(sys.argv[1]), Path(sys.argv[2]))
good = (copy / "searchers/shape.py").read_text()
for old, new, limit_s in [("", "", 60), ("2", "3", 60), ("import", "No Python", 60), ("pass", "while True: pass", 4)]:
    if old:
        with in_place(changed(copy, "searchers/shape.py", "a fault", good.replace(old, new)), copy):
            outcome = run_tests(copy, ["tests/test_shape.py"], limit_s)
    else:
        outcome = run_tests(copy, ["tests/test_shape.py"], limit_s)
    print(json.dumps([outcome.noticed, outcome.by]))
    assert (copy / "searchers/shape.py").read_text() == good
print(json.dumps([run_tests(copy, ["tests/test_shape.py"], 60, "ray").by, run_tests(copy, [], 60).by]))
with in_place(changed(copy, "searchers/shared.py", "a fault", "No Python"), copy):
    print(json.dumps(run_tests(copy, ["tests/test_shape.py"], 60).by))
"""


def test_a_fault_is_noticed_where_a_test_fails_where_nothing_imports_and_where_nothing_ends(tmp_path):
    root = written(tmp_path / "main", {
        "pyproject.toml": '[tool.pytest.ini_options]\npythonpath = ["."]\nmarkers = ["ray: x", "slow: x"]\n',
        "searchers/__init__.py": "",
        "searchers/shared.py": "KEY = 2",
        "tests/conftest.py": "from searchers.shared import KEY",
        "searchers/shape.py": "import math\n\n\ndef area(side):\n    pass\n    return side * 2\n",
        "tests/test_shape.py": "from searchers.shape import area\n\n\ndef test_area():\n    assert area(3) == 6\n",
    })  # fmt: skip
    for words in (["init", "-q"], ["add", "."]):
        subprocess.run(["git", *words], cwd=root, check=True)
    script = [sys.executable, "-c", TRIED, str(root), str(tmp_path / "copies")]
    said = subprocess.run(script, cwd=ROOT, capture_output=True, text=True)
    assert not said.returncode, said.stderr
    assert [json.loads(line) for line in said.stdout.splitlines()] == [
        [False, ""],
        [True, "tests/test_shape.py::test_area"],
        [True, "tests/test_shape.py (import)"],
        [True, "not over after 4 s"],
        ["no test", "no test"],
        "what the tests share could not be imported",
    ]


def test_the_report_counts_by_area_and_lists_what_was_not_noticed(tmp_path):
    faults = [
        changed(ROOT, path, f"fault {i}", (ROOT / path).read_text().replace("import", "port", i + 1))
        for i, path in enumerate(["cluster/prices.py", "cluster/prices.py", "searchers/objective.py"])
    ]
    by = ["not over after 60 s", "", "tests/test_space.py::test_one"]
    text = report([Tried(f, Outcome(i != 1, by[i], 30.0)) for i, f in enumerate(faults)], skipped=2)
    assert text.startswith("2 of 3 (67 %) noticed, in 2 minutes of one process\n2 that only tests with Ray")
    assert "| prices | 1 of 2 (50 %) |\n| searchers | 1 of 1 (100 %) |" in text
    assert "| tests that do not end | 1 |\n| a test that fails | 1 |" in text
    # One that was not noticed, and one that may only have been slow.
    assert text.count("- cluster/prices.py:") == 2 and " not over after 60 s: `" in text
    assert "fault 1\n  - `" in text


def test_what_was_tried_counts_until_anything_changes_that_tests_can_see(tmp_path):
    with pytest.raises(FileNotFoundError, match="git knows no file"):
        state_of(tmp_path)
    root = written(tmp_path, {"a.py": "a", "weights.bin": "0", "tests/mutants/trying.py": "", "docs/a.md": ""})
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    before = state_of(root)
    for name in ("a.py", "weights.bin", "tests/mutants/trying.py", "new"):
        assert state_of(written(root, {name: "1"})) != before
        before = state_of(root)
    assert state_of(written(root, {"docs/a.md": "words"})) == before


@pytest.mark.parametrize(
    ("line", "lines"),
    [(1, {1}), (3, {3, 4, 5}), (4, {3, 4, 5}), (6, {6}), (7, {7, 8}), (8, {7, 8}), (9, {9})],
)
def test_lines_of_a_statement(line, lines):
    source = "import a\n\ndef f(\n    x=2,\n):\n    if x:\n        y = (1 +\n             2)\n        return y\n"
    assert lines_around(line, source) == lines
