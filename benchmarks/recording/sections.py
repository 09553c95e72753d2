"""A file of results for each folder of benchmarks: each command has a section, and replaces it when it is run again.

A section says where its figures come from, then what was measured. So a figure can be made again, and nobody has to
guess which of two figures is the newer.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from benchmarks.recording.origin import ROOT, Origin

PREAMBLE = """\
# Results
Each section is written by the command that it names, and replaced when that is run again.
"""
_SECTION = re.compile(r"^## (.*)$", re.MULTILINE)


def results_of(module: str) -> Path:
    """The file of results of a benchmark's folder.

    Args:
        module: of the benchmark, its `__name__`.
    """
    return ROOT.joinpath(*module.split(".")[:-1], "RESULTS.md")


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


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]], *, text: Collection[int] = (0,)) -> str:
    """A table.

    Args:
        header: names of the columns.
        rows: their cells.
        text: which columns are text, and begin at the left; the others are figures.

    Raises:
        ValueError: a row of another length than the header.
    """
    if wrong := [row for row in rows if len(row) != len(header)]:
        raise ValueError(f"{len(header)} cells a row needed, got {wrong[0]}")
    lines = [header, [":--" if i in text else "--:" for i in range(len(header))], *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _read(path: Path) -> tuple[str, dict[str, str]]:
    """What stands before the first section, and the sections by heading, in order."""
    if not path.exists():
        return PREAMBLE, {}
    preamble, *rest = _SECTION.split(path.read_text(encoding="utf-8"))
    return preamble, dict(zip([heading.strip() for heading in rest[::2]], rest[1::2], strict=True))
