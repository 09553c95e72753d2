"""A view on a console, with rich: as wide as the terminal is, and without losing a digit where that is narrow."""

from __future__ import annotations

from typing import TextIO

from rich.console import Console
from rich.text import Text

from raytune_infer.report.renderers.console_table import boxed, fits, listed, plain
from raytune_infer.report.view import Note, NoteKind, Table, View

FILE_WIDTH = 132
"""Where the output goes into a file: wide enough for most tables."""

STYLES: dict[NoteKind, str] = {
    "remark": "", "conclusion": "bold", "success": "green", "warning": "yellow", "failure": "red",
}  # fmt: skip


def render(view: View, out: TextIO) -> None:
    """Print it; curves are for who draws."""
    print_view(console_for(out), view)


def console_for(out: TextIO) -> Console:
    """As wide as the terminal; wide enough for a table where the output goes into a file."""
    return Console(file=out, soft_wrap=True, width=None if out.isatty() else FILE_WIDTH)


def print_view(console: Console, view: View) -> None:
    """Title, tables, notes, then the sections."""
    if view.title or view.subtitle:
        title = Text(plain(view.title), style="bold")
        between = "  " if view.title and view.subtitle else ""
        console.print(Text.assemble(title, between + plain(view.subtitle)), highlight=False)
    for table in view.tables:
        _print_table(console, table)
    for note in view.notes:
        console.print(_line(note), highlight=False)
    for section in view.sections:
        print_view(console, section)


def _line(note: Note) -> Text:
    # What is concluded stands by itself, all else below what it is about.
    return Text(("" if note.kind == "conclusion" else "  ") + plain(note.text), style=STYLES[note.kind])


def _print_table(console: Console, table: Table) -> None:
    if table.layout == "list" or not fits(table, console.width):
        for line in listed(table):
            console.print(line, highlight=False)
        return
    for part in boxed(table, console.width):
        console.print(part)
