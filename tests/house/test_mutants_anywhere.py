"""Faults are judged alike wherever the repository and temporary files are, and whatever is set where they are tried."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.mutants.areas import ROOT

HOUSE = {
    "pyproject.toml": '[tool.pytest.ini_options]\npythonpath = ["."]\nmarkers = ["ray: x", "slow: x"]\n',
    "searchers/__init__.py": "",
    "searchers/shape.py": "def area(side):\n    return side * 2\n",
    "tests/test_shape.py": "import pytest\nfrom searchers.shape import area\n\n\n"
    "def test_area():\n    assert area(3) == 6\n\n\n"
    "@pytest.mark.ray\ndef test_with_ray():\n    raise RuntimeError('Ray does not start here')\n",
}
TRIED = """\
import sys, tempfile
from pathlib import Path
import tests.mutants.__main__ as tool
from tests.mutants.fault import changed

root = tool.ROOT = Path(sys.argv[1])
tool.judged, tool.named = lambda *only: {"searchers/shape.py": "searchers"}, lambda: iter(())
good = (root / "searchers/shape.py").read_text()
with_ray = sys.argv[2] == "with Ray"
wrong = changed(root, "searchers/shape.py", "a fault", good.replace("2", "3"), needs_ray=with_ray)
with tempfile.TemporaryDirectory() as folder:
    try:
        kept = tool.Kept(Path(folder) / "kept.jsonl", anew=False)
        print([tried.outcome.noticed for tried in tool.try_all([wrong], kept, Path(folder), 1)])
    except RuntimeError as error:
        print(error)
"""


def tried(folder: Path, *, with_ray: bool = False, **more: str) -> str:
    """What is said of one fault in a repository in a folder."""
    for name, text in HOUSE.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    for words in (["init", "-q"], ["add", "."]):
        subprocess.run(["git", *words], cwd=folder, check=True)
    script = [sys.executable, "-c", TRIED, str(folder), "with Ray" if with_ray else "without"]
    done = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, env=os.environ | more)
    assert not done.returncode, done.stderr
    return done.stdout.strip()


def test_where_clone_and_temporary_files_are_and_what_is_set_changes_nothing(tmp_path):
    (tmp_path / "real [1]").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real [1]")
    set_elsewhere: Any = {"PYTEST_ADDOPTS": "-n 1 -k nothing", "GIT_DIR": "/none", "GIT_INDEX_FILE": "/none"}
    assert tried(tmp_path / "main [2]", TMPDIR=str(tmp_path / "link"), **set_elsewhere) == "[True]"


def test_tests_that_are_red_without_a_fault_notice_none(tmp_path):
    assert "tests/test_shape.py::test_with_ray" in tried(tmp_path, with_ray=True)
