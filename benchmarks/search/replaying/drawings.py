"""Draws the results of searchers as small SVG files, which are identical whenever the figures are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.search.replaying.found import Found
from raytune_infer.report.renderers import curve_drawing

STYLE = {**curve_drawing.STYLE, "font.size": 11}
DASHES = ("-", "--", ":", "-.")
POINTS = 60
"""Most points of a line."""


class NoMatplotlib(RuntimeError):
    """Matplotlib, which draws, is not installed."""


def regret(path: Path, suites: Mapping[str, Mapping[str, Found]], emphasised: str) -> None:
    """Draws the mean fraction of the best against trials: a panel per suite, a line per searcher.

    Args:
        path: path of the SVG.
        suites: suite → searcher → what it found.
        emphasised: the searcher whose line is thick and black.
    """
    names = list(dict.fromkeys(name for searchers in suites.values() for name in searchers))
    with _figure(path, panels=len(suites)) as axes:
        for ax, (suite, searchers) in zip(axes, suites.items(), strict=True):
            for name, found in searchers.items():
                # Evenly on the logarithmic axis: overlapping points would only make the file larger.
                trials = np.unique(np.geomspace(1, found.budget, POINTS).round().astype(int))
                mean = 100 * found.fractions.mean(axis=0)[trials - 1]
                ax.plot(trials, mean, label=name, **_line(name, names, emphasised))
            budget = max(found.budget for found in searchers.values())
            marks = [k for k in (1, 2, 5, 10, 20, 50, 100, 200, 500) if k <= budget]
            ax.set(xscale="log", xlabel="trials", title=suite, xlim=(1, budget), ylim=(0, 101))
            ax.set_xticks(marks, [str(mark) for mark in marks], minor=False)
            ax.set_xticks([], minor=True)
        axes[0].set_ylabel("best found, % of the best there is (mean)")
        labelled = {label: line for ax in axes for line, label in zip(*ax.get_legend_handles_labels(), strict=True)}
        axes[-1].legend(
            labelled.values(), labelled.keys(), loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False
        )


def reliability(path: Path, searchers: Mapping[str, tuple[Sequence[float], Sequence[float]]], question: str) -> None:
    """Draws observed frequency against predicted chance, in per cent; a calibrated searcher is on the diagonal.

    Args:
        path: path of the SVG.
        searchers: name → mean predicted chance and observed frequency of each bin that is not empty.
        question: the event that the chance is of, for the axis.
    """
    with _figure(path, panels=1) as (ax,):
        ax.plot((0, 100), (0, 100), color="grey", linestyle=":", label="calibrated")
        for name, (predicted, observed) in searchers.items():
            ax.plot(100 * np.array(predicted), 100 * np.array(observed), marker="o", label=name)
        ax.set(xlabel=f"predicted chance of {question}, %", ylabel="observed, %", xlim=(0, 100), ylim=(0, 100))
        ax.legend(frameon=False)


def _line(name: str, names: Sequence[str], emphasised: str) -> dict[str, Any]:
    if name == emphasised:
        return {"color": "black", "linewidth": 2.6, "zorder": 3}
    at = [other for other in names if other != emphasised].index(name)
    return {"color": f"C{at % 10}", "linestyle": DASHES[at % len(DASHES)], "linewidth": 1.6}


@contextmanager
def _figure(path: Path, panels: int) -> Any:
    """Yields a row of panels that share a vertical axis, and saves the figure at the end."""
    try:
        import matplotlib
    except ImportError:
        raise NoMatplotlib("drawing needs matplotlib: pip install 'raytune-infer[bench]'") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    with matplotlib.rc_context(STYLE):
        figure, axes = pyplot.subplots(
            1, panels, figsize=(4.2 * panels + 1.4, 4.2), sharey=True, squeeze=False, layout="constrained"
        )
        try:
            yield axes[0]
            path.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path, format="svg", metadata={"Date": None})
        finally:
            pyplot.close(figure)
