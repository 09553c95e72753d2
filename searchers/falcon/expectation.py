"""What is expected of each quantity before the first trial: by `Problem.expected`, by curves of sources, or by nobody.

Notation: n configurations, a knobs, k trials.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from searchers.base import Problem
from searchers.baselines.from_sources.source_values import learnt_once
from searchers.falcon import curves
from searchers.meta import kernel
from searchers.meta.joint_grid import GridAxis, JointGrid, grid_over
from searchers.meta.kernel import Scales
from searchers.meta.metric_model import FEASIBLE, MetricModel, metric_model_of

NOTHING = "nothing"
"""Who says what is expected, where nobody does."""
SOURCES = "earlier services"

_RUNS, _RUNS_SPREAD, _RUNS_LEVEL = 0.8, 0.6, 0.5
"""Of 1 and -1 for what runs and what does not, where nothing is known: mean, factor on `kernel.generic`, level. As in
`meta.mixture.generic`: most configurations run."""
_LEAST = 1e-9
_RUNS_TOLD_STD = 0.5
"""Standard deviation of the same where it is said which configurations run: Φ(1 / 0.5) = 0.98. Our choice."""


@dataclass(frozen=True, eq=False)
class Expectation:
    """What is expected of one quantity: the logarithm of a metric, or whether a configuration runs (1 or -1).

    Args:
        by: who says so.
        mean: `[n]` expected value.
        scales: kernel of how a service differs from it, but for the level.
        width: `[n]` factor on the kernel's standard deviation at each configuration.
        level_std: standard deviation of the level; infinite where it is not known at all.
    """

    by: str
    mean: np.ndarray
    scales: Scales
    width: np.ndarray
    level_std: float

    @property
    def informed(self) -> bool:
        """Whether anything is expected."""
        return self.by != NOTHING


@dataclass(frozen=True, eq=False)
class Expected:
    """Everything that is expected of a problem.

    Args:
        axes: the a knobs.
        ranks: `[n, a]` rank of each configuration's value on each axis; -1 where the knob does not exist.
        quantities: quantity → what is expected of it.
        nothing: quantity → the same where nothing is known of it, for trials that contradict what is expected.
    """

    axes: tuple[GridAxis, ...]
    ranks: np.ndarray
    quantities: Mapping[str, Expectation]
    nothing: Mapping[str, Expectation]

    @property
    def informed(self) -> bool:
        """Whether anything is expected of a metric."""
        return any(each.informed for name, each in self.quantities.items() if name != FEASIBLE)


def expected_of(problem: Problem) -> Expected:
    """What is expected of every quantity of the problem's metric model."""
    model, _ = metric_model_of(problem)
    learnt = _curves_of_sources(problem)
    grid = learnt.grid
    nothing = {quantity: _nothing(grid, quantity) for quantity in model.quantities}
    out = {}
    for quantity, otherwise in nothing.items():
        told = _said(problem, grid.axes, quantity), _learnt(learnt, quantity, problem.noise)
        given = [each for each in told if each is not None]
        out[quantity] = _fused(*given) if len(given) == 2 else given[0] if given else otherwise
    return Expected(grid.axes, grid.ranks[: grid.n], out, nothing)


def _said(problem: Problem, axes: Sequence[GridAxis], quantity: str) -> Expectation | None:
    """What `Problem.expected` says; its error is as smooth as `kernel.generic`, scaled to the deviations that it gives.

    Whether a configuration runs has the mean 2p - 1, and a standard deviation by which a p of 1 counts as 0.98.
    """
    told = problem.expected
    if told is None or (quantity not in told.log_mean if quantity != FEASIBLE else told.runs is None):
        return None
    unit = kernel.unit(axes)
    if quantity != FEASIBLE:
        std = np.hypot(told.log_std[quantity], problem.noise)
        return Expectation(told.by, told.log_mean[quantity], unit, std, told.level_std.get(quantity, np.inf))
    assert told.runs is not None
    return Expectation(told.by, 2 * told.runs - 1, unit, np.full(len(told), _RUNS_TOLD_STD), 0.0)


def _learnt(learnt: SourceCurves, quantity: str, noise: float) -> Expectation | None:
    """What sources have in common, and their spreads, none of which is below the noise of a measurement."""
    found = learnt.by_quantity.get(quantity)
    if found is None:
        return None
    n, axes, spreads = learnt.grid.n, learnt.grid.axes, found.spreads
    start = kernel.generic(axes)
    if spreads is None:  # one model only: nothing says how much others differ from it
        scales = _nothing(learnt.grid, quantity).scales
        level = np.inf if quantity != FEASIBLE else _RUNS_LEVEL
    else:
        known = [any(axis.name == name for name in learnt.knobs) for axis in axes]
        main = np.where(known, np.maximum(spreads.main, noise), start.main)
        scales = replace(
            start, level=kernel.NO_LEVEL, joint=max(spreads.pairs, noise), own=max(spreads.rest, noise), main=main
        )
        level = spreads.level
    return Expectation(SOURCES, found.level + found.surface[:n], scales, np.ones(n), level)


def _fused(one: Expectation, other: Expectation) -> Expectation:
    """What two say together: means weighted by their precision, configuration by configuration.

    Covariance intersection with equal parts (Julier, Uhlmann 1997): the two may be wrong for the same reason, so the
    precision is the mean of theirs, not their sum. Levels, of which shapes are free, are fused in the same way.
    """
    precisions = [1 / (each.width**2 * kernel.total_variance(each.scales)) for each in (one, other)]
    level_precisions = [1 / max(each.level_std, _LEAST) ** 2 for each in (one, other)]
    levels = [float(each.mean.mean()) for each in (one, other)]
    total, level_total = sum(precisions), sum(level_precisions)
    shares = [precision / total for precision in precisions]
    level_shares = [p / level_total if level_total > 0 else 0.5 for p in level_precisions]
    shape = shares[0] * (one.mean - levels[0]) + shares[1] * (other.mean - levels[1])
    level = level_shares[0] * levels[0] + level_shares[1] * levels[1]
    width = np.sqrt(2 / total / kernel.total_variance(other.scales))
    level_std = float(np.sqrt(2 / level_total)) if level_total > 0 else np.inf
    return Expectation(f"{one.by} and {other.by}", shape + level, other.scales, width, level_std)


def _nothing(grid: JointGrid, quantity: str) -> Expectation:
    """What is expected of a quantity of which nothing is known: smooth curves about an unknown level."""
    scales, one = replace(kernel.generic(grid.axes), level=kernel.NO_LEVEL), np.ones(grid.n)
    if quantity == FEASIBLE:
        return Expectation(NOTHING, _RUNS * one, kernel.scaled(scales, _RUNS_SPREAD), one, _RUNS_LEVEL)
    return Expectation(NOTHING, 0 * one, scales, one, np.inf)


@dataclass(frozen=True, eq=False)
class SourceCurves:
    """The joint grid of a problem and its sources, the curves of each quantity, and the knobs that sources have."""

    grid: JointGrid
    by_quantity: Mapping[str, curves.Curves]
    knobs: frozenset[str]


@learnt_once
def _curves_of_sources(problem: Problem) -> SourceCurves:
    model, _ = metric_model_of(problem)
    grid = grid_over(problem.space, problem.sources)
    by_quantity = {
        quantity: curves.fit(grid.ranks, observed)
        for quantity in model.quantities
        if (observed := _observed(problem, grid, model, quantity)) is not None
    }
    return SourceCurves(grid, by_quantity, frozenset(k.name for task in problem.sources for k in task.space.knobs))


def _observed(problem: Problem, grid: JointGrid, model: MetricModel, quantity: str) -> curves.Observed | None:
    """The sources' observations of a quantity; None where no source measured it."""
    rows, ys, tasks, groups = [], [], [], []
    names = sorted({task.group for task in problem.sources})
    for number, (task, at) in enumerate(zip(problem.sources, grid.rows, strict=True)):
        on_grid = [replace(o, position=int(row)) for o, row in zip(task.observed, at, strict=True)]
        where, y = model.measured(on_grid, quantity)
        rows.append(where)
        ys.append(y)
        tasks.append(np.full(len(where), number))
        groups.append(np.full(len(where), names.index(task.group)))
    if not sum(map(len, rows)):
        return None
    row, group = np.concatenate(rows), np.concatenate(groups)
    _, of, times = np.unique(row * len(names) + group, return_inverse=True, return_counts=True)
    return curves.Observed(row, np.concatenate(ys), np.concatenate(tasks), group, 1 / times[of])
