"""What ignore files name, asked of git itself."""

import shutil
import subprocess
from pathlib import Path

import pytest

from cluster.starting.ignore_rules import IgnoreRules

PATTERNS = """
    a | /a | a/ | /a/ | a/b | a/* | a/** | **/b | a/**/c | * | *.py | ?.py | [ab] | [!a] | [^a].py | [a-c].py | a** | **
    b.py | /b.py | a/*/c | \\#x | \\!x | #x | a\\ | [ | [] | [a | []a] | [[:alpha:]].py | a.py | **/ | a/**/ | / | . | ä
    \\*.py | [.]py | *b* | a*c | **/a/b | /**/c | a[/]b | a?b | [[:digit:]x].py | [![:upper:]] | [[:nothing:]] | [a\\]b]
"""
PATHS = (
    "a.py | b.py | #x | !x | ä | *.py | ] | aXc | d | a/b/c | a/d | b/a | b/b.py | c/a/b/c | e/a | e/b | e/c | e/d.py"
)
NAMES = sorted({"/".join(path.split("/")[:count]) for path in PATHS.split(" | ") for count in range(1, 5)})


@pytest.fixture(scope="module", params=["files", "folders"])
def repository(request, tmp_path_factory) -> Path:
    """One whose last names are of files or of folders; what is around them are folders."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    folder: Path = tmp_path_factory.mktemp(request.param)
    subprocess.run(["git", "init", "-q", folder], check=True)
    for name in PATHS.split(" | "):
        path = folder / name if request.param == "folders" else (folder / name).parent
        path.mkdir(parents=True, exist_ok=True)
        if request.param == "files":
            (folder / name).touch()
    return folder


def ignored_by_git(repository: Path, lines: str) -> set[str]:
    (repository / ".gitignore").write_text(lines)
    words = ["git", "-C", str(repository), "-c", "core.excludesFile=", "check-ignore", "--no-index", "-z", "--stdin"]
    answer = subprocess.run(words, input="\0".join(NAMES).encode(), capture_output=True, check=False)
    assert not answer.stderr
    return set(filter(None, answer.stdout.decode().split("\0")))


def ignored_by_us(repository: Path, lines: str) -> set[str]:
    """As who goes down from the top asks: what is in an ignored folder is not asked about."""
    rules, found = IgnoreRules(lines.splitlines()), set[str]()
    for name in NAMES:  # a folder comes before what is in it
        inside = name.rpartition("/")[0] in found
        if inside or rules.says(name, is_folder=(repository / name).is_dir()):
            found.add(name)
    return found


@pytest.mark.parametrize("pattern", PATTERNS.replace(" | ", "\n").split())
def test_a_pattern_names_what_git_says_it_names(repository, pattern):
    for lines in (pattern, f"*\n!{pattern}", f"{pattern}\n!a.py\n!b/", f"{pattern}  \n"):
        assert ignored_by_us(repository, lines) == ignored_by_git(repository, lines), lines


def test_a_work_tree_beside_a_repository_has_the_excluded_names_of_it(tmp_path):
    repository = tmp_path / "repository"
    (repository / ".git" / "info").mkdir(parents=True)
    (repository / ".git" / "worktrees" / "w").mkdir(parents=True)
    (repository / ".git" / "info" / "exclude").write_text("local\n")
    (repository / ".git" / "worktrees" / "w" / "commondir").write_text("../..\n")
    beside = tmp_path / "beside"
    beside.mkdir()
    (beside / ".git").write_text(f"gitdir: {repository}/.git/worktrees/w\n")
    for folder in (repository, beside):
        assert IgnoreRules.of(folder).says("local", is_folder=False)
