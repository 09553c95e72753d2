"""Renderer of views for a console, with rich: as wide as the terminal, without dropping digits on a narrow one."""

from __future__ import annotations

from typing import TextIO

from rich.console import Console
from rich.text import Text

from raytune_infer.report.renderers.console_table import boxed, fits, listed, plain
from raytune_infer.report.view import Note, NoteKind, Table, View

FILE_WIDTH = 132
"""Width of output to a file, in characters: enough for most tables."""

STYLES: dict[NoteKind, str] = {
    "remark": "", "conclusion": "bold", "success": "green", "warning": "yellow", "failure": "red",
}  # fmt: skip


def render(view: View, out: TextIO) -> None:
    """Print a view without its curves, which are not for a console."""
    print_view(console_for(out), view)


def console_for(out: TextIO) -> Console:
    """Return a console as wide as the terminal, or `FILE_WIDTH` wide if the output is a file."""
    return Console(file=out, soft_wrap=True, width=None if out.isatty() else FILE_WIDTH)


def print_view(console: Console, view: View) -> None:
    """Print title, answer, tables and notes of a view, then its sections."""
    if view.title or view.subtitle:
        title = Text(plain(view.title), style="bold")
        between = "  " if view.title and view.subtitle else ""
        console.print(Text.assemble(title, between + plain(view.subtitle)), highlight=False)
    if view.answer:
        console.print(_line(Note(view.answer, "conclusion")), highlight=False)
    for table in view.tables:
        _print_table(console, table)
    for note in view.notes:
        console.print(_line(note), highlight=False)
    for section in view.sections:
        print_view(console, section)


def _line(note: Note) -> Text:
    # Conclusions are flush left; other notes are indented below what they refer to.
    return Text(("" if note.kind == "conclusion" else "  ") + plain(note.text), style=STYLES[note.kind])


def _print_table(console: Console, table: Table) -> None:
    if table.layout == "list" or not fits(table, console.width):
        for line in listed(table):
            console.print(line, highlight=False)
        return
    for part in boxed(table, console.width):
        console.print(part)
