"""What a person looks at, as data: tables, notes and curves, before anyone decides how they are shown.

Builders beside this file make a `View` of a study, a ranking, a replay or a cluster; renderers show it. A number stays
a number here, and its unit stands beside it. A text is what somebody wrote, and never markup.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from searchers.space import Value

Kind = Literal["text", "number", "quantity", "quantiles", "config"]
Emphasis = Literal["", "best", "total", "doubtful"]
NoteKind = Literal["remark", "conclusion", "success", "warning", "failure"]
PointKind = Literal["measured", "overloaded", "answer"]


@dataclass(frozen=True)
class Quantity:
    """A number that is known only so well.

    Args:
        value: the best estimate.
        low: lower end of its interval; None where there is none.
        high: upper end.
        at_least: the true one may be larger.
        estimated: the precision that was asked for was not reached.
    """

    value: float
    low: float | None = None
    high: float | None = None
    at_least: bool = False
    estimated: bool = False


@dataclass(frozen=True)
class Quantiles:
    """Numbers of many searches, of which some did not get there: None stands for "not found".

    Args:
        median: of all.
        p90: nine of ten have no more.
        worst: the largest.
        not_found: how many did not get there.
    """

    median: float | None
    p90: float | None
    worst: float | None
    not_found: int


Cell = str | int | float | Quantity | Quantiles | Mapping[str, Value] | None
"""What stands in one place of a table; None where nothing is known."""

TYPES: Mapping[Kind, tuple[type, ...]] = {
    "text": (str,), "number": (int, float), "quantity": (Quantity,), "quantiles": (Quantiles,), "config": (Mapping,),
}  # fmt: skip


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Args:
        name: for programs: one word, its unit in it (`p99_ms`); the same whatever is shown.
        heading: for people, without the unit; may be empty.
        unit: of its numbers; empty for texts and for numbers without one.
        kind: what stands in its cells: a text, a number, a `Quantity`, `Quantiles`, or a whole configuration.
        digits: how people are told its numbers, as a format specification: four digits unless another is given.
        key: tells its rows apart, so it is repeated where a table is too wide and goes on below.
        spread: a configuration's knobs have a column each, where people look at it.
    """

    name: str
    heading: str = ""
    unit: str = ""
    kind: Kind = "number"
    digits: str = ".4g"
    key: bool = False
    spread: bool = False

    @property
    def words(self) -> str:
        """The heading with its unit."""
        return ", ".join(filter(None, (self.heading, self.unit)))


@dataclass(frozen=True)
class Row:
    """One row of a table: a cell for each of its columns."""

    cells: tuple[Cell, ...]
    emphasis: Emphasis = ""


@dataclass(frozen=True)
class Table:
    """Rows of cells.

    Args:
        name: for programs: one word.
        columns: of each row.
        rows: in the order in which they are to be read.
        title: for people; may be empty.
        layout: "rows": as it is; "columns": a row is shown as a column, its first cell as the heading of that;
            "list": a line for each cell. For people only.

    Raises:
        ValueError: two columns have one name, or a row does not fit its columns.
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
        """The cells of one column, from the top down."""
        at = [column.name for column in self.columns].index(name)
        return [row.cells[at] for row in self.rows]

    def knobs(self, name: str) -> list[str]:
        """The knobs of a column of configurations, in the order in which they first stand there."""
        return list(dict.fromkeys(knob for cell in self.column(name) if isinstance(cell, Mapping) for knob in cell))


def _fits(cell: Any, kind: Kind) -> bool:
    if not isinstance(cell, TYPES[kind]) or isinstance(cell, bool):
        return False
    # What is not known is None: NaN and infinity have no place in JSON.
    numbers = vars(cell).values() if isinstance(cell, Quantity | Quantiles) else [cell]
    return all(math.isfinite(number) for number in numbers if isinstance(number, float))


@dataclass(frozen=True)
class Note:
    """A sentence beside the numbers."""

    text: str
    kind: NoteKind = "remark"


@dataclass(frozen=True)
class Axis:
    """What one coordinate of a curve's points is."""

    name: str
    unit: str = ""

    @property
    def words(self) -> str:
        """The name with its unit."""
        return ", ".join(filter(None, (self.name, self.unit)))


@dataclass(frozen=True)
class Point:
    """One point of a curve.

    Args:
        x: first coordinate.
        y: second coordinate.
        low: lower end of the interval of y; None where there is none.
        high: upper end.
        kind: "overloaded": y is only how long that was held; "answer": the one that stands for the series.
    """

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    kind: PointKind = "measured"


@dataclass(frozen=True)
class Curve:
    """Points that belong together.

    Args:
        series: what it is of: a configuration.
        name: which of its figures: p99, p50, …
        x: first axis.
        y: second axis; curves with the same one belong into one picture.
        points: in the order of x; those that are not "measured" stand apart.
        limit: the most that y may be; None where nothing is limited.

    Raises:
        ValueError: a number is not finite.
    """

    series: str
    name: str
    x: Axis
    y: Axis
    points: tuple[Point, ...]
    limit: float | None = None

    def __post_init__(self) -> None:
        numbers = [self.limit, *(number for at in self.points for number in (at.x, at.y, at.low, at.high))]
        if not all(math.isfinite(number) for number in numbers if number is not None):
            raise ValueError(f"the curve {self.name!r} of {self.series!r} has a number that is not finite: {numbers}")


@dataclass(frozen=True)
class View:
    """What a person looks at: a title, tables, notes and curves, then sections of the same.

    Args:
        title: a few words; may be empty.
        subtitle: beside the title, less in sight.
        tables: in the order in which they are to be read.
        notes: what to know beside the tables.
        curves: for who draws.
        sections: views that come after it.
    """

    title: str = ""
    subtitle: str = ""
    tables: tuple[Table, ...] = ()
    notes: tuple[Note, ...] = ()
    curves: tuple[Curve, ...] = ()
    sections: tuple[View, ...] = field(default=())
