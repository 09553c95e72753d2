"""Charts as what plotly draws: dictionaries of data and layout, without a colour that only one background bears.

Marks differ in shape and lines in dashes too, so that nothing is told by colour alone. The colours are those of Okabe
and Ito (Color Universal Design, 2008) that have enough contrast on light and on dark ground.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from raytune_infer.report.chart import Chart, Dot, Plane, PlaneCell, Planes, Series
from raytune_infer.report.words.values import quantity_text, significant

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_DASHES = ("solid", "dash", "longdash", "dashdot", "longdashdot", "12px 3px")  # dots are for what is faint
_MARKS = ("circle", "square", "diamond", "triangle-up", "pentagon", "hexagon")
_SYMBOLS: Mapping[str, str] = {
    "overloaded": "x-thin-open", "answer": "circle-open", "early": "circle-open", "failed": "x-thin-open",
    "best": "star", "default": "diamond",
}  # fmt: skip
_SIZES = {"best": 15, "answer": 14, "default": 11, "failed": 8, "overloaded": 9}
_MOST = 300
"""Most characters of a text that floats over a chart; the table below it has the whole."""


def chart_figure(chart: Chart) -> dict[str, Any]:
    """Return a chart as plotly's data and layout."""
    groups = list(dict.fromkeys(series.group or series.name for series in chart.series))
    data = [_trace(series, groups.index(series.group or series.name)) for series in chart.series]
    shapes = []
    if chart.limit is not None:
        line = {"width": 2, "dash": "longdash"}
        shapes.append({"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": chart.limit, "y1": chart.limit,
                       "line": line})  # fmt: skip
    x: dict[str, Any] = {"title": {"text": _plain(chart.x.words)}}
    x |= {"type": "log"} if chart.log_x else {"rangemode": "tozero"}
    x |= {"dtick": _whole_step([dot.x for series in chart.series for dot in series.dots])} if chart.x.whole else {}
    y: dict[str, Any] = {"title": {"text": _plain(chart.y.words)}}
    y |= {"type": "log"} if chart.log_y else {"rangemode": "tozero"}
    return {"data": data, "layout": {"xaxis": x, "yaxis": y, "shapes": shapes}}


def _whole_step(numbers: Sequence[float]) -> int:
    """Return the distance of ticks at whole numbers: 1, 2 or 5 times a power of ten, so that there are ten or fewer."""
    span, power = max(numbers, default=0.0), 1
    while True:
        for step in (power, 2 * power, 5 * power):
            if span <= 10 * step:
                return step
        power *= 10


def _trace(series: Series, group: int) -> dict[str, Any]:
    colour, dots = _COLOURS[group % len(_COLOURS)], series.dots
    line = {"color": colour, "dash": "dot" if series.faint else _DASHES[group % len(_DASHES)]}
    symbol = _SYMBOLS.get(series.kind, _MARKS[group % len(_MARKS)])
    trace: dict[str, Any] = {
        "type": "scatter", "name": _plain(series.name, 60), "x": [dot.x for dot in dots],
        "y": [dot.y.value for dot in dots],
        "mode": "lines+markers" if series.kind == "line" else "lines" if series.kind == "steps" else "markers",
        "line": {**line, "shape": "hv" if series.kind == "steps" else "linear"},
        "marker": {
            "color": colour, "symbol": symbol, "size": _SIZES.get(series.kind, 8),
            "line": {"width": 2, "color": colour},
        },
        "text": [_over(dot, series) for dot in dots], "hovertemplate": "%{text}",
    }  # fmt: skip
    if any(dot.y.low is not None for dot in dots):
        trace["error_y"] = _errors(dots, colour)
    return trace


def _over(dot: Dot, series: Series) -> str:
    """Return what floats over a point: its numbers as the tables write them, and what it stands for."""
    figure = "" if series.kind == "failed" else f", {quantity_text(dot.y)}"
    return f"{significant(dot.x)}{figure}<br>{_plain(dot.label)}"


def _errors(dots: Sequence[Dot], colour: str) -> dict[str, Any]:
    above = [0 if dot.y.high is None else dot.y.high - dot.y.value for dot in dots]
    below = [0 if dot.y.low is None else dot.y.value - dot.y.low for dot in dots]
    return {"type": "data", "symmetric": False, "array": above, "arrayminus": below, "color": colour, "thickness": 1}


def planes_figures(planes: Planes) -> dict[str, Any]:
    """Return the planes for a page on which a reader chooses one: the knobs, and a figure for each pair of them."""
    figures = [{"x": p.x, "y": p.y, **_plane(p, planes)} for p in planes.planes]
    knobs = list(dict.fromkeys(knob for p in planes.planes for knob in (p.x, p.y)))
    return {"name": planes.name, "knobs": knobs, "planes": figures}


def _plane(plane: Plane, planes: Planes) -> dict[str, Any]:
    at = {(cell.x, cell.y): cell for cell in plane.cells}
    rows, columns = range(len(plane.y_values)), range(len(plane.x_values))
    heat = {
        "type": "heatmap", "colorscale": "Cividis", "reversescale": planes.less_is_better, "hoverongaps": False,
        "xgap": 1, "ygap": 1,
        "z": [[_height(at.get((x, y))) for x in columns] for y in rows],
        "text": [[_told(at.get((x, y))) for x in columns] for y in rows], "hovertemplate": "%{text}<extra></extra>",
        "colorbar": {
            "title": {"text": f"{_plain(planes.figure.words)} (brighter is better)", "side": "right"}, "thickness": 12,
            "exponentformat": "none",
        },
    }  # fmt: skip
    measured = [cell for cell in plane.cells if cell.measured]
    failed = [cell for cell in plane.cells if cell.failed]
    marks = [_marks(measured, "measured", "circle"), _marks(failed, "does not count", "x")]
    layout = {"xaxis": _knob(plane.x, plane.x_values), "yaxis": _knob(plane.y, plane.y_values)}
    return {"data": [heat, *(trace for trace in marks if trace["x"])], "layout": layout}


def _knob(name: str, values: Sequence[str]) -> dict[str, Any]:
    short = [_plain(value, 24) for value in values]
    return {"title": {"text": _plain(name, 60)}, "tickvals": list(range(len(values))), "ticktext": short,
            "zeroline": False}  # fmt: skip


def _marks(cells: Sequence[PlaneCell], name: str, symbol: str) -> dict[str, Any]:
    return {
        "type": "scatter", "mode": "markers", "name": name, "x": [c.x for c in cells], "y": [c.y for c in cells],
        "marker": {"symbol": symbol, "size": 11, "color": "#FFFFFF", "line": {"width": 2, "color": "#000000"}},
        "text": [_told(c) for c in cells], "hovertemplate": "%{text}<extra></extra>",
    }  # fmt: skip


def _height(cell: PlaneCell | None) -> float | None:
    if cell is None:
        return None
    known = cell.measured or cell.predicted
    return None if known is None else known.value


def _told(cell: PlaneCell | None) -> str:
    if cell is None:
        return ""
    both = ("measured", cell.measured), ("predicted", cell.predicted)
    said = [f"{name} {quantity_text(each)}" for name, each in both if each is not None]
    return "<br>".join([*said, *([_plain(cell.failed)] if cell.failed else [])])


def _plain(words: str, most: int = _MOST) -> str:
    """Return a text of a user's for plotly, which reads tags in texts as markup, cut where it is too long to float."""
    return escape(words if len(words) <= most else words[: most - 1] + "…", quote=False)
