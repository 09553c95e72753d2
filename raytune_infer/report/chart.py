"""Data model of charts: quantities with intervals, points over two axes, planes of two knobs, whatever draws them.

Each chart has a title and a sentence that says what is seen; `renderers/chart_tables.py` gives its numbers as a table
to whoever cannot see it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

SeriesKind = Literal["measured", "overloaded", "answer", "early", "failed", "best", "default", "line", "steps"]
"""What its marks look like: "line" and "steps" join its points; the others are marks, each of a shape of its own.

Those of "failed" have no figure: their y only says where they are drawn."""


@dataclass(frozen=True)
class Quantity:
    """A number with its uncertainty.

    Args:
        value: the best estimate.
        low: lower end of its interval; None where there is none.
        high: upper end of its interval; None where there is none.
        at_least: whether the true value may be larger.
        estimated: whether the requested precision was not reached.
        at_most: whether the true value may be smaller.

    Raises:
        ValueError: one end alone is given, or the number lies outside its interval.
    """

    value: float
    low: float | None = None
    high: float | None = None
    at_least: bool = False
    estimated: bool = False
    at_most: bool = False

    def __post_init__(self) -> None:
        if self.low is None and self.high is None:
            return
        if self.low is None or self.high is None or not self.low <= self.value <= self.high:
            raise ValueError(f"an interval around {self.value} is needed, got {self.low} to {self.high}")


@dataclass(frozen=True)
class Axis:
    """Name and unit of one axis of a curve, and whether its numbers are whole, such as those of trials."""

    name: str
    unit: str = ""
    whole: bool = False

    @property
    def words(self) -> str:
        """The name with its unit."""
        return ", ".join(filter(None, (self.name, self.unit)))


@dataclass(frozen=True)
class Dot:
    """One point of a chart.

    Args:
        x: first coordinate.
        y: second coordinate, with its interval and what is known of it.
        label: what it stands for, such as a configuration; may be empty.

    Raises:
        ValueError: a number is not finite.
    """

    x: float
    y: Quantity
    label: str = ""

    def __post_init__(self) -> None:
        numbers = [number for number in (self.x, self.y.value, self.y.low, self.y.high) if number is not None]
        if not all(map(math.isfinite, numbers)):
            raise ValueError(f"a point of a chart needs finite numbers, got {numbers}")


@dataclass(frozen=True)
class Series:
    """Points that belong together.

    Args:
        name: what they are, for the legend.
        kind: what they look like.
        dots: the points, those of a line in its order.
        group: series of one group have one colour; the series' own name when left out.
        faint: whether it is drawn with less emphasis, such as a second percentile.
        figure: the figure of the group that it shows, such as `p99`; empty where there is one alone.
    """

    name: str
    kind: SeriesKind
    dots: tuple[Dot, ...]
    group: str = ""
    faint: bool = False
    figure: str = ""


@dataclass(frozen=True)
class Chart:
    """Series over two axes.

    Args:
        name: name for programs: one word.
        title: title for people.
        caption: a sentence that says what is seen.
        x: first axis.
        y: second axis.
        series: the series, those that matter most first.
        limit: a value of y that is not to be exceeded; None without one.
        log_y: whether the second axis is logarithmic.
        log_x: whether the first axis is logarithmic.
    """

    name: str
    title: str
    caption: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    limit: float | None = None
    log_y: bool = False
    log_x: bool = False


@dataclass(frozen=True)
class PlaneCell:
    """What is known of one pair of values of two knobs.

    Args:
        x: index of the first knob's value.
        y: index of the second knob's value.
        predicted: predicted figure with its interval; None where nothing predicts it.
        measured: measured figure with its interval; None where it was not measured, or does not count.
        failed: why it could not run or does not count; empty otherwise.
    """

    x: int
    y: int
    predicted: Quantity | None = None
    measured: Quantity | None = None
    failed: str = ""

    @property
    def is_known(self) -> bool:
        """Whether anything is said of it."""
        return bool(self.predicted or self.measured or self.failed)


@dataclass(frozen=True)
class Plane:
    """The plane of two knobs, the others fixed.

    Args:
        x: name of the first knob.
        x_values: its values in words.
        y: name of the second knob.
        y_values: its values in words.
        cells: what is known, at most once for each pair of values.

    Raises:
        ValueError: a cell lies outside.
    """

    x: str
    x_values: tuple[str, ...]
    y: str
    y_values: tuple[str, ...]
    cells: tuple[PlaneCell, ...]

    def __post_init__(self) -> None:
        for cell in self.cells:
            if not (0 <= cell.x < len(self.x_values) and 0 <= cell.y < len(self.y_values)):
                raise ValueError(f"the plane of {self.x!r} and {self.y!r} has no cell at {cell.x}, {cell.y}")


@dataclass(frozen=True)
class Planes:
    """Planes of pairs of knobs, of which a reader chooses one.

    Args:
        name: name for programs: one word.
        title: title for people.
        caption: a sentence that says what is seen.
        figure: name and unit of what the cells tell.
        planes: the planes, the one to show first at the top.
        less_is_better: whether lower figures are better.
    """

    name: str
    title: str
    caption: str
    figure: Axis
    planes: tuple[Plane, ...]
    less_is_better: bool = False
