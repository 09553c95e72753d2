"""One file of results for all benchmarks: each command has a section, and replaces it when it is run again.

A section says what was measured, then where it comes from: machine, command, date and revision. So a figure can be
made again, and nobody has to guess which of two figures is the newer.
"""

from __future__ import annotations

import datetime as dt
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "RESULTS.md"
PREAMBLE = """\
# Results
Each section is written by the command that it names, and replaced when that is run again.
"""
_SECTION = re.compile(r"^## (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Origin:
    """Where figures come from.

    Args:
        machine: the CPU's name and its cores.
        command: as it was given, to be run from the repository's root.
        date: ISO 8601.
        revision: of the code; with a note where there are changes that were not committed.
    """

    machine: str
    command: str
    date: str
    revision: str

    @classmethod
    def here(cls, arguments: Sequence[str] | None = None) -> Origin:
        """This machine, this process's command (or these arguments), today, the code as it is."""
        command = shlex.join(["python", *_script(sys.argv if arguments is None else arguments)])
        return cls(_machine(), command, dt.date.today().isoformat(), _revision())

    def line(self) -> str:
        """As a section shows it."""
        return f"`{self.command}`, {self.date}, revision {self.revision}, {self.machine}."


def put(path: Path, heading: str, origin: Origin, body: str) -> None:
    """Put a section in its place in the file: where that of the same heading was, else at the end.

    The file is replaced in one step, so that a process that dies leaves the old one.

    Args:
        path: of the file; made when there is none.
        heading: what was measured; a section of the same heading is replaced.
        origin: where the figures come from.
        body: Markdown; its own headings have three # or more.

    Raises:
        ValueError: a heading of several lines, or a body that has a section's heading in it.
    """
    if not heading.strip() or "\n" in heading:
        raise ValueError(f"a heading is one line, got {heading!r}")
    if _SECTION.search(body):
        raise ValueError(f"the body under the heading {heading!r} has a line that starts with '## '; take ### or more")
    preamble, sections = _read(path)
    sections[heading.strip()] = f"{origin.line()}\n\n{body.strip()}"
    text = "\n\n".join([preamble.strip(), *(f"## {name}\n{content.strip()}" for name, content in sections.items())])
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(text + "\n", encoding="utf-8")
    fresh.replace(path)


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; its first column is text, the others are figures.

    Raises:
        ValueError: a row of another length than the header.
    """
    if wrong := [row for row in rows if len(row) != len(header)]:
        raise ValueError(f"{len(header)} cells a row needed, got {wrong[0]}")
    lines = [header, [":--", *["--:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _read(path: Path) -> tuple[str, dict[str, str]]:
    """What stands before the first section, and the sections by heading, in order."""
    if not path.exists():
        return PREAMBLE, {}
    preamble, *rest = _SECTION.split(path.read_text(encoding="utf-8"))
    return preamble, dict(zip([heading.strip() for heading in rest[::2]], rest[1::2], strict=True))


def _script(arguments: Sequence[str]) -> list[str]:
    """Arguments with the script's path as seen from the root; folders outside of it by their names alone."""
    return [_from_root(argument) for argument in arguments]


def _from_root(argument: str) -> str:
    path = Path(argument)
    if not path.is_absolute() and not path.exists():
        return argument
    shown = os.path.relpath(path.resolve(), ROOT)
    # What lies beside the repository is named as seen from it; a path of this machine says nothing to others.
    return shown if shown.count("..") <= 1 else path.name


def processor() -> str:
    """What this machine's processor is called."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _machine() -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{processor()}, {cores} cores, Python {platform.python_version()}"


def _revision() -> str:
    """The commit; results and drawings are no change of the code."""
    aside = (":!benchmarks/RESULTS.md", ":!docs/images")
    commit = _git("rev-parse", "--short", "HEAD")
    if commit is None:
        return "unknown"
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", *aside)
    return f"{commit} with changes" if changed else commit


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
