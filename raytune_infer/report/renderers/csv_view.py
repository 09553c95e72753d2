"""Renderer of views as CSV: one table, so that any program that reads CSV can read the whole output.

That is the first table of the view, or the one that was named; charts and notes are tables too. Columns have their
names for programs, with units in them. A cell of several numbers has a column for each.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, TextIO

from raytune_infer.errors import UserError
from raytune_infer.report.renderers.chart_tables import table_of
from raytune_infer.report.view import Cell, Column, Quantiles, Quantity, Table, View

_PARTS = {
    "quantity": [each.name for each in fields(Quantity)],
    "quantiles": [each.name for each in fields(Quantiles)],
}


Rows = Sequence[Sequence[Any]]
"""Rows of one table, below its header."""


def render(view: View, out: TextIO, table: str | None = None) -> None:
    """Write one table of a view.

    Args:
        view: the view.
        out: where to write.
        table: name of the table; None for the first.

    Raises:
        UserError: there is no such table; the message names those that there are.
    """
    tables = _tables(view)
    name = table or next(iter(tables), None)
    if name is None:
        return
    if name not in tables:
        raise UserError(f"--format csv:{name}: there is no such table; there are {', '.join(tables)}")
    header, rows = tables[name]
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)


def _tables(view: View) -> dict[str, tuple[Sequence[str], Rows]]:
    """Return name → header and rows: the view's own tables first, its charts among them, then its notes.

    Tables of the same name and columns, as sections have them, are one.
    """
    found: dict[str, tuple[Sequence[str], Rows]] = {}
    for name, header, rows in [*_blocks(view), *_beside(view)]:
        before = found.get(name, (header, ()))
        if list(before[0]) == list(header):
            found[name] = header, [*before[1], *rows]
    return found


def _blocks(view: View) -> Iterator[tuple[str, Sequence[str], Rows]]:
    yield from map(_block, view.tables)
    yield from (_block(table_of(chart)) for chart in view.charts)
    for section in view.sections:
        yield from _blocks(section)


def _beside(view: View) -> Iterator[tuple[str, Sequence[str], Rows]]:
    """Yield the notes; the answer is the first."""
    answer = [("answer", view.answer)] if view.answer else []
    if notes := [*answer, *((note.kind, note.text) for note in view.notes)]:
        yield "notes", ("kind", "text"), notes
    for section in view.sections:
        yield from _beside(section)


def _block(table: Table) -> tuple[str, Sequence[str], Rows]:
    parts = [_parts(table, column) for column in table.columns]
    header = [
        f"{column.name}{between}{part}" if part else column.name
        for column, named in zip(table.columns, parts, strict=True)
        for between in (_between(column),)
        for part in named
    ]
    rows = [
        [value for cell, named in zip(row.cells, parts, strict=True) for value in _values(cell, named)]
        for row in table.rows
    ]
    return table.name, header, rows


def _between(column: Column) -> str:
    # Users name their knobs freely, so a dot keeps `config.value` and `config_value` apart.
    return "." if column.kind == "config" else "_"


def _parts(table: Table, column: Column) -> list[str]:
    """Return the names of the parts of a cell in this column; a single empty name if it has one value."""
    if column.kind == "config":
        return table.knobs(column.name)
    return ["" if part == "value" else part for part in _PARTS.get(column.kind, [""])]


def _values(cell: Cell, named: Sequence[str]) -> list[Any]:
    if isinstance(cell, Mapping):
        return [cell.get(name) for name in named]
    if isinstance(cell, Quantity | Quantiles):
        return [getattr(cell, name or "value") for name in named]
    return [cell, *[None] * (len(named) - 1)] if named else []
