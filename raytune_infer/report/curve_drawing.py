"""The picture of `recommend --curve`: latency over rate of the best few configurations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from raytune_infer.errors import UserError
from raytune_infer.ranking.curve import in_order
from raytune_infer.ranking.recommendation import Ranked, Recommendation
from serve_deployments.metrics.level_result import LevelResult

_BEST = 3  # two lines each; more cannot be told apart
_FORMS = ("svg", "png")
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "raytune-infer",  # else the ids in the file are random
    "svg.fonttype": "none",  # text as text: a tenth of the size, and it can be searched
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
}


def drawable(path: Path) -> None:
    """Refuse what cannot be drawn before anything is computed.

    Raises:
        UserError: another ending than .svg or .png, or matplotlib is not installed.
    """
    if path.suffix.removeprefix(".") not in _FORMS:
        raise UserError(f"--curve {path}: a file that ends with .svg or .png is needed")
    _matplotlib()


def draw_curves(found: Recommendation, path: Path) -> None:
    """Draw p50 and the limited percentile (p99 unless another is) over the rate achieved.

    A colour is a configuration, a cross a level that was overloaded, a circle the one that stands for it. Where
    levels know what the replica did, the share of time in which its model ran is drawn below.

    Args:
        found: a ranking; its first few, or where none counts the most promising.
        path: an .svg or .png.

    Raises:
        UserError: as `drawable`.
    """
    drawable(path)
    drawn = (found.ranked or found.others)[:_BEST]
    upper = next((name for name in found.objective.at_most if name.endswith("_ms")), "p99_ms")
    curves = [in_order(r.levels, "open" if found.arrivals else "closed") for r in drawn]
    used = any(level.usage is not None for curve in curves for level in curve)
    with _figure(path, rows=1 + used) as axes:
        for colour, (r, curve) in enumerate(zip(drawn, curves, strict=True)):
            _draw_latency(axes[0], r, curve, upper, f"C{colour}", _label(r, drawn))
            if used:
                told = [
                    (at.rate_rps, at.usage.busy_share) for at in curve if at.usage and at.usage.busy_share is not None
                ]
                axes[1].plot(*zip(*told, strict=True), marker=".", color=f"C{colour}")
        _write_latency(axes[0], found, upper)
        fastest_rps = max((level.rate_rps for curve in curves for level in curve), default=1.0)
        axes[-1].set(xlabel="achieved requests/s", xlim=(0, 1.05 * fastest_rps))
        if used:
            axes[1].set(ylabel="model busy", ylim=(0, 1.05))


def _write_latency(ax: Any, found: Recommendation, upper: str) -> None:
    """The limit, the scale and the legend."""
    from matplotlib.ticker import LogLocator, NullLocator

    spoken = upper.removesuffix("_ms")
    if (limit := found.objective.at_most.get(upper)) is not None:
        ax.axhline(limit, color="black", linewidth=1)
        place = {"xycoords": ("axes fraction", "data"), "ha": "left", "va": "bottom"}
        ax.annotate(f"limit of {spoken}", (0.01, limit), fontsize=9, **place)
    emulated = " (emulated)" if any(r.emulated for r in (*found.ranked, *found.others)) else ""
    ax.set(yscale="log", ylabel=f"latency, ms{emulated}")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_locator(NullLocator())
    title = f"{spoken}; p50 dotted; × overloaded; ○ its rate"
    above = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0)}
    ax.legend(title=title, frameon=False, fontsize=9, title_fontsize=9, **above)


def _draw_latency(ax: Any, r: Ranked, curve: Sequence[LevelResult], upper: str, colour: str, label: str) -> None:
    """One configuration's two lines; overloaded levels stand apart: their latency is only how long they were held."""
    held = [level for level in curve if not level.overloaded]
    for name, line in ((upper, "-"), ("p50_ms", ":")):
        points = [(level.rate_rps, value) for level in held if (value := level.value(name)) is not None]
        if points:
            ax.plot(*zip(*points, strict=True), line, marker=".", color=colour, label=label if line == "-" else None)
    crosses = [(at.rate_rps, at.value(upper)) for at in curve if at.overloaded and at.value(upper) is not None]
    if crosses:
        ax.plot(*zip(*crosses, strict=True), "x", color=colour)
    if r.known.level is not None and (value := r.known.level.value(upper)) is not None:
        ax.plot(r.known.level.rate_rps, value, "o", markersize=9, fillstyle="none", color=colour)


def _label(r: Ranked, drawn: Sequence[Ranked]) -> str:
    """What tells a configuration from the others that are drawn; all of it if it is alone."""
    differ = {name: value for name, value in r.config.items() if any(other.config[name] != value for other in drawn)}
    return ", ".join(f"{name}={value}" for name, value in (differ or r.config).items())


def _matplotlib() -> Any:
    try:
        import matplotlib
    except ImportError:
        raise UserError("drawing needs matplotlib: pip install 'raytune-infer[draw]'") from None
    return matplotlib


@contextmanager
def _figure(path: Path, rows: int) -> Iterator[Any]:
    """Panels below one another over one rate axis, saved at the end."""
    matplotlib = _matplotlib()
    # Not pyplot, which keeps a state of its own: whoever calls this may be drawing too.
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 4.6 + 1.2 * (rows - 1)), layout="constrained")
        axes = figure.subplots(rows, 1, sharex=True, squeeze=False, height_ratios=[3, 1][:rows])
        yield axes[:, 0]
        path.parent.mkdir(parents=True, exist_ok=True)
        form = path.suffix.removeprefix(".")
        # Without a date the file is the same whenever the figures are.
        figure.savefig(path, format=form, dpi=150, metadata={"Date": None} if form == "svg" else None)
