"""Renderer of views as CSV: a block for each table, separated by empty lines.

A block has its own header, and each row starts with the name of its table: `grep -E '^(table|trials),'` selects one.
Columns have their names for programs, with units in them. A cell of several numbers has a column for each.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, TextIO

from raytune_infer.report.view import Cell, Column, Curve, Quantiles, Quantity, Table, View

_PARTS = {
    "quantity": [each.name for each in fields(Quantity)],
    "quantiles": [each.name for each in fields(Quantiles)],
}


def render(view: View, out: TextIO) -> None:
    """Write the tables of a view, and its titles, notes and curves as tables too."""
    writer = csv.writer(out, lineterminator="\n")
    for number, (name, header, rows) in enumerate(_blocks(view)):
        if number:
            out.write("\n")
        writer.writerow(["table", *header])
        writer.writerows([name, *row] for row in rows)


Block = tuple[str, Sequence[str], Sequence[Sequence[Any]]]


def _blocks(view: View) -> Iterator[Block]:
    titles = [("", view.title, view.subtitle), *((table.name, table.title, "") for table in view.tables)]
    if titled := [title for title in titles if any(title[1:])]:
        yield "view", ("of", "title", "subtitle"), titled
    for table in view.tables:
        yield _block(table)
    if view.notes:
        yield "notes", ("kind", "text"), [(note.kind, note.text) for note in view.notes]
    if view.curves:
        header = ("series", "curve", "x_axis", "y_axis", "kind", "x", "y", "y_low", "y_high", "limit")
        yield "curves", header, [row for curve in view.curves for row in _points(curve)]
    for section in view.sections:
        yield from _blocks(section)


def _points(curve: Curve) -> Iterator[Sequence[Any]]:
    for at in curve.points:
        yield (
            curve.series, curve.name, curve.x.words, curve.y.words, at.kind, at.x, at.y, at.low, at.high, curve.limit
        )  # fmt: skip


def _block(table: Table) -> Block:
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
