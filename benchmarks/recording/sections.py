"""Files of results, one per folder of benchmarks: each command writes a section and replaces it when run again.

A section states the origin of its figures, then the figures. So a figure can be reproduced, and there is no older one
beside it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.recording.origin import ROOT, Origin

PREAMBLE = """\
# Results
Each section is written by the command that it names, and replaced when that is run again.
"""
_ORIGIN = re.compile(r"`(?P<command>[^`]*)`, [^,]*, revision (?P<revision>[^,]*), ")
_SETTINGS = re.compile(r" --(?:jobs|out) \S+")
_SECTION = re.compile(r"^## (.*)$", re.MULTILINE)


def results_of(module: str) -> Path:
    """The file of results of a benchmark's folder.

    Args:
        module: the benchmark's `__name__`.
    """
    return ROOT.joinpath(*module.split(".")[:-1], "RESULTS.md")


def put(path: Path, heading: str, origin: Origin, body: str) -> None:
    """Writes a section into the file, in place of the one with the same heading or else at the end.

    The file is replaced atomically, so that a process that dies leaves the old one.

    Args:
        path: path of the file, which is created if there is none.
        heading: what was measured; a section with the same heading is replaced.
        origin: where the figures come from.
        body: Markdown, whose own headings have three # or more.

    Raises:
        ValueError: the heading is empty or has several lines, or the body contains a section's heading.
    """
    if not heading.strip() or "\n" in heading:
        raise ValueError(f"a heading is one line, got {heading!r}")
    if _SECTION.search(body):
        raise ValueError(f"the body under the heading {heading!r} has a line that starts with '## '; take ### or more")
    preamble, sections = _read(path)
    sections[heading.strip()] = f"{origin.line()}\n\n{body.strip()}"
    _write(path, preamble, sections)


def _write(path: Path, preamble: str, sections: Mapping[str, str]) -> None:
    text = "\n\n".join([preamble.strip(), *(f"## {name}\n{content.strip()}" for name, content in sections.items())])
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(text + "\n", encoding="utf-8")
    fresh.replace(path)


@dataclass(frozen=True)
class Section:
    """A section that a file of results has.

    Args:
        heading: what was measured.
        command: the command that made it, without the number of processes and the file.
        revision: commit of the code that made it.
    """

    heading: str
    command: str
    revision: str


def made(path: Path) -> list[Section]:
    """The sections of the file that name their origin, in order; none if there is no file."""
    found = ((heading, _ORIGIN.match(content.lstrip())) for heading, content in _read(path)[1].items())
    return [Section(heading, _SETTINGS.sub("", by["command"]), by["revision"]) for heading, by in found if by]


def drop(path: Path, headings: Collection[str]) -> None:
    """Removes sections from the file, atomically as `put` does; those that are not there are ignored."""
    preamble, sections = _read(path)
    _write(path, preamble, {name: content for name, content in sections.items() if name not in headings})


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]], *, text: Collection[int] = (0,)) -> str:
    """A Markdown table.

    Args:
        header: names of the columns.
        rows: the cells of each row.
        text: indices of the columns with text, which is left-aligned; figures are right-aligned.

    Raises:
        ValueError: a row has another length than the header.
    """
    if wrong := [row for row in rows if len(row) != len(header)]:
        raise ValueError(f"each row needs {len(header)} cells, got {wrong[0]}")
    lines = [header, [":--" if i in text else "--:" for i in range(len(header))], *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _read(path: Path) -> tuple[str, dict[str, str]]:
    """The text before the first section, and the sections by heading, in order."""
    if not path.exists():
        return PREAMBLE, {}
    preamble, *rest = _SECTION.split(path.read_text(encoding="utf-8"))
    return preamble, dict(zip([heading.strip() for heading in rest[::2]], rest[1::2], strict=True))
