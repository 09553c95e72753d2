"""Renderer of views as JSON: numbers unrounded, units with their columns."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TextIO

from raytune_infer.report.view import Cell, Quantiles, Quantity, Table, View
from searchers.space import Value


def render(view: View, out: TextIO) -> None:
    """Write a view as one JSON object."""
    # ASCII only, so that it can be written in any output encoding.
    out.write(json.dumps(as_dict(view), indent=2, allow_nan=False) + "\n")


def as_dict(view: View) -> dict[str, Any]:
    """Return the view as dictionaries and lists; a row is a dictionary of column name → cell."""
    return {
        "title": view.title,
        "subtitle": view.subtitle,
        "answer": view.answer,
        "tables": [_table(table) for table in view.tables],
        "notes": [asdict(note) for note in view.notes],
        "listings": [asdict(listing) for listing in view.listings],
        "charts": [asdict(chart) for chart in view.charts],
        "sections": [as_dict(section) for section in view.sections],
    }


def _table(table: Table) -> dict[str, Any]:
    names = [column.name for column in table.columns]
    return {
        "name": table.name,
        "title": table.title,
        "columns": [
            {"name": c.name, "heading": c.heading, "unit": c.unit, "kind": c.kind} for c in table.columns
        ],
        "rows": [dict(zip(names, map(_cell, row.cells), strict=True)) for row in table.rows],
    }  # fmt: skip


def _cell(cell: Cell) -> Any:
    if isinstance(cell, Quantity | Quantiles):
        return asdict(cell)
    return {name: _knob(value) for name, value in cell.items()} if isinstance(cell, Mapping) else cell


def _knob(value: Value) -> Value:
    # A knob may have the value `.inf`, which is not a JSON number.
    return value if not isinstance(value, float) or math.isfinite(value) else str(value)
