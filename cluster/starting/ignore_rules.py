"""What the ignore files of git in one folder name, as gitignore(5) says: the last pattern that names a path decides."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import NamedTuple


class _Pattern(NamedTuple):
    name: re.Pattern[str]
    folders_only: bool
    ignores: bool


class IgnoreRules:
    """Patterns in the form of a .gitignore, for what lies below a folder."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = lines

    @classmethod
    def of(cls, folder: Path) -> IgnoreRules:
        """Those of a folder's .gitignore; in a repository's, of .git/info/exclude and the user's own as well."""
        of_repository = (folder / ".git").exists()
        around = [*_users(folder), *_lines(_git(folder) / "info" / "exclude")] if of_repository else []
        return cls(around + _lines(folder / ".gitignore"))

    @classmethod
    def of_the_user(cls, folder: Path) -> IgnoreRules:
        """Those that the user has for all repositories, as git's setting core.excludesFile names them."""
        return cls(_users(folder))

    def says(self, name: str, *, is_folder: bool) -> bool | None:
        """Whether a path is ignored; None if no pattern names it. What names a folder around it is not asked.

        Args:
            name: the path relative to the folder, with `/` between folders.
            is_folder: whether it is a folder.
        """
        name = _by_bytes(name)
        for pattern in self._patterns:
            if (is_folder or not pattern.folders_only) and pattern.name.fullmatch(name):
                return pattern.ignores
        return None

    @cached_property
    def _patterns(self) -> list[_Pattern]:
        """The patterns, the last first."""
        return [pattern for line in self._lines if (pattern := _parsed(line)) is not None][::-1]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _users(folder: Path) -> list[str]:
    """The user's own patterns for all repositories; by default they are in git's folder of settings (gitignore(5))."""
    try:
        words = ["git", "-C", str(folder), "config", "--type=path", "--get", "core.excludesFile"]
        found = subprocess.run(words, capture_output=True, check=False, stdin=subprocess.DEVNULL)
        if found.returncode not in (0, 1):  # a repository that git does not trust, as it is another user's
            found = subprocess.run([*words[:1], *words[3:4], "--global", *words[4:]], capture_output=True, check=False)
        named = os.fsdecode(found.stdout.removesuffix(b"\n")) if found.returncode == 0 else None
    except OSError:  # git is not installed
        named = None
    if named is not None:
        return _lines(folder / named) if named else []
    settings = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return _lines(Path(settings) / "git" / "ignore")


def _git(folder: Path) -> Path:
    """The folder of a repository's data: elsewhere for a further work tree or a submodule (gitrepository-layout(5))."""
    there = folder / ".git"
    if not there.is_file():
        return there
    data = folder / "".join(_lines(there)[:1]).removeprefix("gitdir: ")
    return data / "".join(_lines(data / "commondir")[:1])


def _parsed(line: str) -> _Pattern | None:
    line = re.sub(r"(?<!\\) +$", "", line)
    if not line or line.startswith("#"):
        return None
    ignores = not line.startswith("!")
    line = line if ignores else line[1:]
    pattern = _by_bytes(line.removesuffix("/"))
    anywhere = "" if "/" in pattern else "(?:.*/)?"
    try:
        name = re.compile(anywhere + _expression(pattern.removeprefix("/")), re.DOTALL)
    except re.error:  # git, too, has it match nothing
        return None
    return _Pattern(name, folders_only=line.endswith("/"), ignores=ignores) if pattern else None


_PARTS = re.compile(r"^\*\*/|/\*\*/|/\*\*$|\*+|\?|\\.|\[!?\^?\]?(?:\\.|\[:\w+:\]|[^\]\\])*\]|.", re.DOTALL)
_MEANINGS = {"**/": "(?:.*/)?", "/**/": "/(?:.*/)?", "/**": "/.+", "?": "[^/]"}


def _expression(pattern: str) -> str:
    """A pattern as a regular expression."""
    return "".join(map(_part, _PARTS.findall(pattern)))


def _part(part: str) -> str:
    if part in _MEANINGS:
        return _MEANINGS[part]
    if part.startswith("*"):
        return "[^/]*"
    if part.startswith("[") and len(part) > 1:
        inside = part[1:-1]
        negated = inside[:1] in ("!", "^")
        return f"(?!/)[{'^' if negated else ''}{_escaped(inside[negated:])}]"
    return re.escape(part[-1])


_CLASSES = {"alpha": "a-zA-Z", "digit": "0-9", "alnum": "a-zA-Z0-9", "lower": "a-z", "upper": "A-Z"}
_CLASSES |= {"space": r"\s", "xdigit": "0-9a-fA-F", "punct": r"!-/:-@\[-`{-~", "blank": r" \t"}


def _escaped(inside: str) -> str:
    """The characters of a bracket expression, for one of Python."""
    return re.sub(r"\[:(\w+):\]|^\]|[\[&~|]", lambda found: _CLASSES.get(found[1] or "", "\\" + found[0][0]), inside)


def _by_bytes(text: str) -> str:
    """A text with a character for each byte of its name in the file system, as git compares them."""
    return text.encode(errors="surrogateescape").decode("latin-1")
