"""The numbers of a chart as a table, and curves as charts, for renderers of both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from raytune_infer.report.chart import Chart, Dot, Planes, Series, SeriesKind
from raytune_infer.report.view import Column, Curve, PointKind, Row, Table


def charts_of(curves: Sequence[Curve], title: str) -> tuple[Chart, ...]:
    """Return the curves as charts, one for each y axis."""
    panels = dict.fromkeys(curve.y for curve in curves)
    return tuple(_panel(at, [c for c in curves if c.y == y], title) for at, y in enumerate(panels))


def _panel(at: int, curves: Sequence[Curve], title: str) -> Chart:
    first, limits = curves[0], [curve for curve in curves if curve.limit is not None]
    limit = limits[0].limit if limits else None
    names = " and ".join(dict.fromkeys(curve.name for curve in curves))
    told = "" if limit is None else f"; the line across is the limit on {limits[0].name}, {limit:g} {first.y.unit}"
    caption = f"{names} over the rate that was achieved, for the best configurations{told}."
    return Chart(
        f"curves_{at + 1}", title if not at else f"{first.y.name}", caption[:1].upper() + caption[1:], first.x, first.y,
        tuple(each for curve in curves for each in _series(curve, first.name)), limit, log_y=bool(first.y.unit),
    )  # fmt: skip


def _series(curve: Curve, solid: str) -> Iterator[Series]:
    named = f"{curve.series}: {curve.name}"
    shown: dict[PointKind, tuple[SeriesKind, str]] = {
        "measured": ("line", ""), "overloaded": ("overloaded", ", overloaded"), "answer": ("answer", ", its rate"),
    }  # fmt: skip
    for kind, (looks, said) in shown.items():
        dots = tuple(Dot(at.x, at.y, at.low, at.high, curve.series) for at in curve.points if at.kind == kind)
        if dots:
            yield Series(named + said, looks, dots, group=curve.series, faint=curve.name != solid)


def table_of(chart: Chart | Planes) -> Table:
    """Return the numbers of a chart as a table."""
    return _chart_table(chart) if isinstance(chart, Chart) else _planes_table(chart)


def _chart_table(chart: Chart) -> Table:
    columns = (
        Column("series", "series", kind="text", key=True), Column("x", chart.x.name, chart.x.unit),
        Column("y", chart.y.name, chart.y.unit, kind="quantity"), Column("label", "configuration", kind="text"),
    )  # fmt: skip
    rows = [
        Row((series.name, dot.x, None if series.kind == "failed" else dot.quantity, dot.label or None))
        for series in chart.series
        for dot in series.dots
    ]
    return Table(chart.name, columns, tuple(rows))


def _planes_table(planes: Planes) -> Table:
    unit = planes.figure.unit
    columns = (
        Column("x", "first knob", kind="text", key=True), Column("x_value", "its value", kind="text"),
        Column("y", "second knob", kind="text"), Column("y_value", "its value", kind="text"),
        Column("predicted", "predicted", unit, kind="quantity"), Column("measured", "measured", unit, kind="quantity"),
        Column("failed", "does not count because", kind="text"),
    )  # fmt: skip
    rows = [
        Row((
            p.x, p.x_values[c.x], p.y, p.y_values[c.y], c.predicted, c.measured, c.failed or None
        ))
        for p in planes.planes
        for c in p.cells
    ]  # fmt: skip
    return Table(planes.name, columns, tuple(rows))
