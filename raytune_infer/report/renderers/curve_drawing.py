"""Drawing for `recommend --curve`: latency over rate of the best few configurations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from raytune_infer.errors import UserError
from raytune_infer.report.chart import Axis, Chart, Series
from raytune_infer.report.level_figures import RATE

_FORMS = ("svg", "png")
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "raytune-infer",  # without it the ids in the file are random
    "svg.fonttype": "none",  # text as text, not as paths: a tenth of the size, and it can be searched
    "text.parse_math": False,  # a knob's value with dollar signs is no formula
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
}


def drawable(path: Path) -> None:
    """Check that a drawing can be written to this path, before anything is computed.

    Raises:
        UserError: the file name does not end with .svg or .png, or matplotlib is not installed.
    """
    if path.suffix.removeprefix(".") not in _FORMS:
        raise UserError(f"--curve {path}: a file that ends with .svg or .png is needed")
    _matplotlib()


def draw_curves(charts: Sequence[Chart], path: Path) -> None:
    """Draw latencies over the achieved rate and, below them, how busy the model was, where that is known.

    Each configuration has a colour; a cross is an overloaded level, a circle the level that represents a configuration.

    Args:
        charts: the charts of a recommendation's view, that of latencies first.
        path: an .svg or .png file.

    Raises:
        UserError: as in `drawable`.
    """
    drawable(path)
    panels = list(charts) or [Chart("latency", "", "", RATE, Axis("latency", "ms"), (), log_y=True)]
    groups = list(dict.fromkeys(series.group for chart in panels for series in chart.series))
    with _figure(path, rows=len(panels)) as axes:
        for ax, chart in zip(axes, panels, strict=True):
            for colour, group in enumerate(groups):
                _draw(ax, [series for series in chart.series if series.group == group], f"C{colour}")
        _write_latency(axes[0], panels[0])
        fastest_rps = max((dot.x for chart in panels for series in chart.series for dot in series.dots), default=1.0)
        axes[-1].set(xlabel=f"{panels[0].x.name} {panels[0].x.unit}", xlim=(0, 1.05 * fastest_rps))
        for ax, chart in zip(axes[1:], panels[1:], strict=True):
            ax.set(ylabel=chart.y.words, ylim=(0, 1.05))


def _write_latency(ax: Any, chart: Chart) -> None:
    """Draw the limit, the scale and the legend of the latency panel."""
    from matplotlib.ticker import LogLocator, NullLocator

    names = list(dict.fromkeys(series.figure for series in chart.series))
    if chart.limit is not None:
        ax.axhline(chart.limit, color="black", linewidth=1)
        place = {"xycoords": ("axes fraction", "data"), "ha": "left", "va": "bottom"}
        ax.annotate(f"limit of {names[0]}", (0.01, chart.limit), fontsize=9, **place)
    ax.set(yscale="log", ylabel=chart.y.words)
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_locator(NullLocator())
    title = "; ".join([*names[:1], *(f"{name} dotted" for name in names[1:]), "× overloaded", "○ its rate"])
    above = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0)}
    ax.legend(title=title, frameon=False, fontsize=9, title_fontsize=9, **above)


def _draw(ax: Any, of_one: Sequence[Series], colour: str) -> None:
    """Draw one configuration: what is faint dotted, points of other kinds than a line as separate marks.

    The latency of an overloaded level only reflects how long it was held.
    """
    marks = {"overloaded": ("x", {}), "answer": ("o", {"markersize": 9, "fillstyle": "none"})}
    for series in sorted(of_one, key=lambda each: each.kind != "line"):
        xs, ys = [dot.x for dot in series.dots], [dot.y.value for dot in series.dots]
        if series.kind == "line":
            line = ":" if series.faint else "-"
            ax.plot(xs, ys, line, marker=".", color=colour, label=None if series.faint else series.group)
        else:
            form, look = marks[series.kind]
            ax.plot(xs, ys, form, color=colour, **look)


def _matplotlib() -> Any:
    try:
        import matplotlib
    except ImportError:
        raise UserError("drawing needs matplotlib: pip install 'raytune-infer[draw]'") from None
    return matplotlib


@contextmanager
def _figure(path: Path, rows: int) -> Iterator[Any]:
    """Make a figure of panels below one another with a common rate axis; it is saved on exit."""
    matplotlib = _matplotlib()
    # Not pyplot: it has global state, which a caller that draws itself may be using.
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 4.6 + 1.2 * (rows - 1)), layout="constrained")
        axes = figure.subplots(rows, 1, sharex=True, squeeze=False, height_ratios=[3, 1][:rows])
        yield axes[:, 0]
        path.parent.mkdir(parents=True, exist_ok=True)
        form = path.suffix.removeprefix(".")
        # Without a date, the same figures give the same file.
        figure.savefig(path, format=form, dpi=150, metadata={"Date": None} if form == "svg" else None)
