"""Drawing for `recommend --curve`: latency over rate of the best few configurations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from raytune_infer.errors import UserError
from raytune_infer.report.view import Axis, Curve

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


def draw_curves(curves: Sequence[Curve], path: Path) -> None:
    """Draw latencies over the achieved rate and, below them, how busy the model was, where that is known.

    Each configuration has a colour; a cross is an overloaded level, a circle the level that represents a configuration.

    Args:
        curves: the curves of a recommendation's view.
        path: an .svg or .png file.

    Raises:
        UserError: as in `drawable`.
    """
    drawable(path)
    series = list(dict.fromkeys(curve.series for curve in curves))
    panels = list(dict.fromkeys(curve.y for curve in curves)) or [Axis("latency", "ms")]
    with _figure(path, rows=len(panels)) as axes:
        for ax, axis in zip(axes, panels, strict=True):
            beside = [curve for curve in curves if curve.y == axis]
            for colour, name in enumerate(series):
                _draw(ax, [curve for curve in beside if curve.series == name], beside[0].name, f"C{colour}")
        _write_latency(axes[0], [curve for curve in curves if curve.y == panels[0]], panels[0])
        fastest_rps = max((at.x for curve in curves for at in curve.points), default=1.0)
        x = curves[0].x if curves else Axis("achieved", "requests/s")
        axes[-1].set(xlabel=f"{x.name} {x.unit}", xlim=(0, 1.05 * fastest_rps))
        for ax, axis in zip(axes[1:], panels[1:], strict=True):
            ax.set(ylabel=axis.words, ylim=(0, 1.05))


def _write_latency(ax: Any, curves: Sequence[Curve], axis: Axis) -> None:
    """Draw the limit, the scale and the legend of the latency panel."""
    from matplotlib.ticker import LogLocator, NullLocator

    names = list(dict.fromkeys(curve.name for curve in curves))
    limited = next((curve for curve in curves if curve.limit is not None), None)
    if limited is not None and limited.limit is not None:
        ax.axhline(limited.limit, color="black", linewidth=1)
        place = {"xycoords": ("axes fraction", "data"), "ha": "left", "va": "bottom"}
        ax.annotate(f"limit of {limited.name}", (0.01, limited.limit), fontsize=9, **place)
    ax.set(yscale="log", ylabel=axis.words)
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_locator(NullLocator())
    title = "; ".join([*names[:1], *(f"{name} dotted" for name in names[1:]), "× overloaded", "○ its rate"])
    above = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0)}
    ax.legend(title=title, frameon=False, fontsize=9, title_fontsize=9, **above)


def _draw(ax: Any, curves: Sequence[Curve], first: str, colour: str) -> None:
    """Draw one configuration: the `first` curve solid, the others dotted, points of other kinds as separate marks.

    The latency of an overloaded level only reflects how long it was held.
    """
    for curve in curves:
        line = "-" if curve.name == first else ":"
        if points := [(at.x, at.y) for at in curve.points if at.kind == "measured"]:
            label = curve.series if line == "-" else None
            ax.plot(*zip(*points, strict=True), line, marker=".", color=colour, label=label)
    for curve in curves:
        if crosses := [(at.x, at.y) for at in curve.points if at.kind == "overloaded"]:
            ax.plot(*zip(*crosses, strict=True), "x", color=colour)
        for at in curve.points:
            if at.kind == "answer":
                ax.plot(at.x, at.y, "o", markersize=9, fillstyle="none", color=colour)


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
