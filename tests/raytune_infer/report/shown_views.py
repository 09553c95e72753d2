"""Views in words, as the tests of what builds them compare them."""

from raytune_infer.report.renderers.cell_text import cell_text
from raytune_infer.report.view import Table


def texts(table: Table) -> list[list[str]]:
    """A list for each row: its cells as people are told them."""
    return [
        [cell_text(column, cell) for column, cell in zip(table.columns, row.cells, strict=True)] for row in table.rows
    ]


def headings(table: Table) -> list[str]:
    return [column.words for column in table.columns]


def column(table: Table, name: str) -> list[str]:
    """One column in words, from the top down."""
    at = [each.name for each in table.columns].index(name)
    return [row[at] for row in texts(table)]
