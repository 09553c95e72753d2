"""The numbers of a chart as a table, for renderers of both."""

from __future__ import annotations

from raytune_infer.report.chart import Chart, Planes
from raytune_infer.report.view import Column, Row, Table


def table_of(chart: Chart | Planes) -> Table:
    """Return the numbers of a chart as a table."""
    return _chart_table(chart) if isinstance(chart, Chart) else _planes_table(chart)


def _chart_table(chart: Chart) -> Table:
    columns = (
        Column("series", "series", kind="text", key=True), Column("x", chart.x.name, chart.x.unit),
        Column("y", chart.y.name, chart.y.unit, kind="quantity"), Column("label", "configuration", kind="text"),
    )  # fmt: skip
    rows = [
        Row((series.name, dot.x, None if series.kind == "failed" else dot.y, dot.label or None))
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
