"""Data model of the output: tables, notes and charts, independent of how they are rendered.

The other modules of this package build a `View` of a study, a ranking, a replay or a cluster; renderers show it.
Numbers stay numbers here, with their units beside them. Texts are plain, never markup.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from raytune_infer.report.chart import Chart, Planes
from raytune_infer.report.chart import Quantity as Quantity
from searchers.space import Value

ColumnKind = Literal["text", "number", "quantity", "quantiles", "config"]
Emphasis = Literal["", "best", "total", "doubtful"]
NoteKind = Literal["remark", "conclusion", "success", "warning", "failure"]


@dataclass(frozen=True)
class Quantiles:
    """Quantiles over many searches, some of which may not have reached the goal: None stands for "not found".

    Args:
        median: the median of all searches.
        p90: the 90th percentile.
        worst: the largest number.
        not_found: number of searches that did not reach the goal.
    """

    median: float | None
    p90: float | None
    worst: float | None
    not_found: int


Cell = str | int | float | Quantity | Quantiles | Mapping[str, Value] | None
"""Content of one cell of a table; None where nothing is known."""

TYPES: Mapping[ColumnKind, tuple[type, ...]] = {
    "text": (str,), "number": (int, float), "quantity": (Quantity,), "quantiles": (Quantiles,), "config": (Mapping,),
}  # fmt: skip


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Args:
        name: name for programs: one word with the unit in it (`p99_ms`); it never depends on what is shown.
        heading: heading for people, without the unit; may be empty.
        unit: unit of its numbers; empty for texts and for numbers without a unit.
        kind: type of its cells: a text, a number, a `Quantity`, `Quantiles`, or a whole configuration.
        digits: format specification for its numbers where people read them; four digits by default.
        key: whether it identifies the rows, so that it is repeated when a wide table is continued below.
        spread: whether each knob of a configuration gets a column of its own where people read it.
    """

    name: str
    heading: str = ""
    unit: str = ""
    kind: ColumnKind = "number"
    digits: str = ".4g"
    key: bool = False
    spread: bool = False

    @property
    def words(self) -> str:
        """The heading with its unit, or with what stands in brackets in place of one."""
        between = " " if self.unit.startswith("(") else ", "
        return between.join(filter(None, (self.heading, self.unit)))


@dataclass(frozen=True)
class Row:
    """One row of a table: a cell for each of its columns."""

    cells: tuple[Cell, ...]
    emphasis: Emphasis = ""


@dataclass(frozen=True)
class Table:
    """A table of cells.

    Args:
        name: name for programs: one word.
        columns: the columns.
        rows: the rows in reading order.
        title: title for people; may be empty.
        layout: display for people: "rows" shows the table as it is; "columns" shows each row as a column with its first
            cell as the heading; "list" shows a line for each cell.

    Raises:
        ValueError: there is no column, two columns have the same name, or a row does not fit the columns.
    """

    name: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    title: str = ""
    layout: Literal["rows", "columns", "list"] = "rows"

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"table {self.name!r} needs one or more columns of different names, got {names}")
        for row in self.rows:
            if len(row.cells) != len(names):
                raise ValueError(f"table {self.name!r} has {len(names)} columns, a row of it {len(row.cells)} cells")
            for column, cell in zip(self.columns, row.cells, strict=True):
                if cell is not None and not _fits(cell, column.kind):
                    raise ValueError(f"column {column.name!r} of {self.name!r} takes a {column.kind}, got {cell!r}")

    def column(self, name: str) -> list[Cell]:
        """Return the cells of one column, from top to bottom."""
        at = [column.name for column in self.columns].index(name)
        return [row.cells[at] for row in self.rows]

    def knobs(self, name: str) -> list[str]:
        """Return the names of all knobs in a column of configurations, in the order of their first occurrence."""
        return list(dict.fromkeys(knob for cell in self.column(name) if isinstance(cell, Mapping) for knob in cell))


def _fits(cell: Any, kind: ColumnKind) -> bool:
    if not isinstance(cell, TYPES[kind]) or isinstance(cell, bool):
        return False
    # Unknown numbers are None: JSON has neither NaN nor infinity.
    numbers = vars(cell).values() if isinstance(cell, Quantity | Quantiles) else [cell]
    return all(math.isfinite(number) for number in numbers if isinstance(number, float))


@dataclass(frozen=True)
class Note:
    """A sentence shown beside the numbers."""

    text: str
    kind: NoteKind = "remark"


@dataclass(frozen=True)
class Listing:
    """A text for programs that people copy whole, such as a file; renderers for people fold it or leave it out.

    Args:
        name: name for programs: one word.
        title: title for people.
        text: the text as it is, line by line.
    """

    name: str
    title: str
    text: str


@dataclass(frozen=True)
class View:
    """Output for a person: a title, tables, notes and charts, then nested views as sections.

    Args:
        title: a few words; may be empty.
        subtitle: text beside the title, with less emphasis.
        tables: tables in reading order.
        notes: notes on the tables.
        charts: charts for renderers that draw; of each, `chart_tables.table_of` gives the numbers to the others.
        sections: views that follow this one.
        listings: texts to copy, shown folded below the tables.
        answer: the answer to what was asked, in one sentence, shown below the title; empty where there is none.
    """

    title: str = ""
    subtitle: str = ""
    tables: tuple[Table, ...] = ()
    notes: tuple[Note, ...] = ()
    sections: tuple[View, ...] = field(default=())
    answer: str = ""
    charts: tuple[Chart | Planes, ...] = ()
    listings: tuple[Listing, ...] = ()
