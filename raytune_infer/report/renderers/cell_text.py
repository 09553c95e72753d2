"""Text of a table cell, for all renderers whose output people read."""

from __future__ import annotations

from collections.abc import Mapping

from raytune_infer.report.view import Cell, Column, Quantiles, Quantity
from raytune_infer.report.words.values import formatted, quantity_text, spelled

UNKNOWN = "–"
"""Shown in place of an unknown number; a missing text is left empty."""


def cell_text(column: Column, cell: Cell) -> str:
    """Return the text of a cell for people, with the digits of its column."""
    if cell is None:
        return "" if column.kind == "text" else UNKNOWN
    if isinstance(cell, str):
        return cell
    if isinstance(cell, Quantity):
        return quantity_text(cell, column.digits)
    if isinstance(cell, Quantiles):
        return _quantiles(cell, column.digits)
    if isinstance(cell, Mapping):
        return spelled(cell)
    return formatted(cell, column.digits)


def _quantiles(cell: Quantiles, digits: str) -> str:
    """Format quantiles as in `11 / 19 / – (3)`: median, 90th percentile, worst, and number of searches not found."""
    numbers = (UNKNOWN if n is None else formatted(n, digits) for n in (cell.median, cell.p90, cell.worst))
    return f"{' / '.join(numbers)} ({cell.not_found})"
