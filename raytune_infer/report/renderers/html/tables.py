"""Tables as HTML: each in a box of its own that scrolls, so that the page never does sideways."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from raytune_infer.report.renderers.cell_text import UNKNOWN, cell_text
from raytune_infer.report.view import Cell, Column, Row, Table
from raytune_infer.report.words.values import value_text

_LONG = 40
"""Characters of a text from which on its column is wide: a narrow one makes a row of ten lines. Our choice."""


def text(words: str) -> str:
    """Return a text for HTML; characters that no file of text may hold are shown as their codes."""
    kept = "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in words)
    return escape(kept)


def table_html(table: Table, label: str = "") -> str:
    """Return a table in a box that scrolls.

    Args:
        table: the table.
        label: what it is called where it has no title.
    """
    title = text(table.title or label or table.name)
    kind = "" if table.layout == "rows" else ' class="turned"'
    return (
        f'<div class="scroll" role="region" aria-label="{title}" tabindex="0"><table{kind}>'
        f"{f'<caption>{text(table.title)}</caption>' if table.title else ''}"
        f"{''.join(_turned(table) if table.layout != 'rows' else _straight(table))}</table></div>"
    )


def _straight(table: Table) -> Iterator[str]:
    shown = list(_spread(table))
    heads = "".join(f'<th scope="col"{_side(column)}>{text(column.words or column.name)}</th>' for column, _ in shown)
    yield f"<thead><tr>{heads}</tr></thead><tbody>"
    for at, row in enumerate(table.rows):
        cells = "".join(_cell(column, cells[at]) for column, cells in shown)
        yield f"<tr{_emphasis(row)}>{cells}</tr>"
    yield "</tbody>"


def _turned(table: Table) -> Iterator[str]:
    """Yield each row as a column with its first cell as the heading; of a list, each row without a heading."""
    shown = list(_spread(table))
    if table.layout == "columns":
        heads = "".join(f'<th scope="col">{text(str(row.cells[0] or ""))}</th>' for row in table.rows)
        yield f"<thead><tr><td></td>{heads}</tr></thead>"
        shown = shown[1:]
    # A line of nothing but blanks, such as one for remarks where there are none, says nothing.
    shown = [(column, cells) for column, cells in shown if any(cell is not None for cell in cells)]
    yield "<tbody>"
    for column, cells in shown:
        yield f'<tr><th scope="row">{text(column.words or column.name)}</th>'
        yield f"{''.join(_cell(column, cell) for cell in cells)}</tr>"
    yield "</tbody>"


def _is_text(column: Column) -> bool:
    return column.kind in ("text", "config")


def _side(column: Column) -> str:
    """Return the class of a heading that stands above numbers, on their side."""
    return "" if _is_text(column) else ' class="number"'


def _emphasis(row: Row) -> str:
    return f' class="{row.emphasis}"' if row.emphasis else ""


def _cell(column: Column, cell: Cell) -> str:
    said = text(cell_text(column, cell))
    if _is_text(column):
        # A text may be in any script: each cell finds its own direction.
        return f'<td class="words{" long" if len(said) >= _LONG else ""}" dir="auto">{said}</td>'
    if cell is None:
        return f'<td class="number"><span aria-label="unknown">{UNKNOWN}</span></td>'
    return f'<td class="number">{said}</td>'


def _spread(table: Table) -> Iterator[tuple[Column, Sequence[Cell]]]:
    """Yield the columns with their cells; a configuration that is spread has a column for each of its knobs."""
    for column in table.columns:
        cells = table.column(column.name)
        if not column.spread:
            yield column, cells
            continue
        for knob in table.knobs(column.name):
            of_knob = [value_text(cell[knob]) if isinstance(cell, Mapping) and knob in cell else None for cell in cells]
            yield Column(f"{column.name}.{knob}", knob, kind="text"), of_knob
