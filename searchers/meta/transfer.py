"""Prior of one quantity for a new service, learned from other services' measurements.

The mean is predicted from the services' facts. The new service may differ from it as much as each of the others
differs from the prediction by the rest, so the prior's width is not assumed, but measured by leaving groups out.

    ŷ_t       surface of task t over the grid: measured values, completed by the kernel where there are none
    w_t(f)    weights of ridge regression with intercept on the tasks' facts f
    mean      Σ_t w_t(f*) ŷ_t
    r_t       (ŷ_t - Σ_s w_s(f_t) ŷ_s) / √v_t  over tasks s of other groups;  v = 1 + Σ w²
    C         v* · [(1 - γ) · mean r_t r_tᵀ + γ · k],  the mean over groups of tasks, k the kernel fitted to the r_t

Shrinking an empirical covariance towards a structured one: Ledoit, Wolf 2004. An empirical covariance of earlier
tasks as a prior for optimisation: Wang et al. 2024, "Pre-trained Gaussian processes for Bayesian optimization".

Notation: T tasks, g rows of the grid, n of them the problem's, p facts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from searchers.meta import kernel
from searchers.meta.gaussian import Gaussian
from searchers.meta.joint_grid import JointGrid

RIDGES = (np.inf, 3.0, 0.3, 0.03)
"""Ridge penalties on facts that are tried; an infinite one ignores the facts."""
SHRINKAGES = (1.0, 0.7, 0.4, 0.2, 0.1, 0.05)
"""Values of γ that are tried."""
KNOWN = (0, 3, 10)
"""Numbers of measurements of a left-out task that are given when its others are predicted, to choose γ."""
FIT_ROWS = 96
"""Largest number of rows of a task that are used to fit the kernel, to choose γ and to compute coherence."""


@dataclass(frozen=True)
class TaskMeasurements:
    """Measurements of the quantity by one source task.

    Args:
        rows: `[k]` distinct rows of the grid.
        y: `[k]` measured values.
        facts: `[p]` standardised facts.
        group: tasks of one group are the same model.
    """

    rows: np.ndarray
    y: np.ndarray
    facts: np.ndarray
    group: str


@dataclass(frozen=True)
class SourcePrior:
    """What the sources show about how services differ, independent of the service at hand.

    Args:
        ridge: ridge penalty on facts.
        axes: names of the knobs.
        scales: parameters of the kernel over these knobs.
        gamma: γ, the kernel's weight in the covariance.
    """

    ridge: float
    axes: tuple[str, ...]
    scales: kernel.Scales
    gamma: float

    def scales_on(self, grid: JointGrid) -> kernel.Scales:
        """The kernel's scales on a grid whose knobs may differ; knobs that no source had are as in `kernel.generic`."""
        of = {name: j for j, name in enumerate(self.axes)}
        start = kernel.generic(grid.axes)
        main, lengths = start.main.copy(), start.lengths.copy()
        for j, axis in enumerate(grid.axes):
            if axis.name in of:
                main[j], lengths[j] = self.scales.main[of[axis.name]], self.scales.lengths[of[axis.name]]
        return replace(self.scales, main=main, lengths=lengths)


def fit(grid: JointGrid, tasks: Sequence[TaskMeasurements], noise: float) -> SourcePrior:
    """Choose the ridge penalty, the kernel and the shrinkage by how well left-out groups are predicted.

    Args:
        grid: joint grid of the sources.
        tasks: the T sources.
        noise: variance of one measurement.
    """
    rng = np.random.default_rng(0)
    start = kernel.generic(grid.axes)
    surfaces = _completed(grid, tasks, start)
    ridge = min(_ridges(tasks), key=lambda ridge: _error_left_out(surfaces, tasks, ridge))
    residuals = _residuals(surfaces, tasks, ridge)
    order = rng.permutation(len(grid.ranks))
    sampled = [_some(task.rows, order) for task in tasks]
    seen = [(grid.ranks[rows], residual[rows]) for rows, residual in zip(sampled, residuals, strict=True)]
    scales = kernel.fit(grid.axes, seen, replace(start, level=1.0))
    gamma = _best_shrinkage(grid, surfaces, sampled, tasks, SourcePrior(ridge, (), scales, 1.0), noise)
    return SourcePrior(ridge, tuple(axis.name for axis in grid.axes), scales, gamma)


def belief(
    grid: JointGrid, tasks: Sequence[TaskMeasurements], prior: SourcePrior, facts: np.ndarray, noise: float
) -> Gaussian:
    """The prior over the problem's configurations, given its sources.

    Args:
        grid: joint grid of the problem and its sources.
        tasks: the T sources.
        prior: what was fitted to these sources.
        facts: `[p]` standardised facts of the problem.
        noise: variance of one measurement.
    """
    scales = prior.scales_on(grid)
    surfaces = _completed(grid, tasks, scales)
    w, v = _weights(_facts(tasks), facts, prior.ridge)
    directions = np.sqrt(v * (1 - prior.gamma)) * _directions(surfaces, tasks, prior.ridge)[:, : grid.n]
    smooth = kernel.variance(grid.axes, grid.ranks[: grid.n], scales)
    return Gaussian(w @ surfaces[:, : grid.n], v * prior.gamma * smooth, noise, directions=directions)


def coherence(grid: JointGrid, task: TaskMeasurements) -> float:
    """R² of predicting each measurement from the task's others by their knobs (leave-one-out), at most 1.

    Near 1 for a surface in which similar configurations have similar values; 0 or below for values that are
    unrelated to their configurations. Leave-one-out errors: Sundararajan, Keerthi 2001, Eq. 12.
    """
    chosen = np.arange(len(task.y))
    if len(chosen) > FIT_ROWS:
        chosen = np.random.default_rng(0).choice(len(chosen), FIT_ROWS, replace=False)
    y = task.y[chosen] - task.y[chosen].mean()
    if y.std() < 1e-9:
        return 1.0
    ranks = grid.ranks[task.rows[chosen]]
    scales = kernel.scaled(replace(kernel.generic(grid.axes), own=0.3), float(y.std()))
    inverse = np.linalg.inv(kernel.variance(grid.axes, ranks, scales))
    errors = inverse @ y / np.diag(inverse)
    return float(1 - np.mean(errors**2) / np.mean(y**2))


def _some(rows: np.ndarray, order: np.ndarray) -> np.ndarray:
    """At most FIT_ROWS rows, the first in one random order: tasks of the same rows then share a Gram matrix."""
    return rows[np.argsort(order[rows])[:FIT_ROWS]]


def _completed(grid: JointGrid, tasks: Sequence[TaskMeasurements], scales: kernel.Scales) -> np.ndarray:
    """`[T, g]` surfaces: the measured values, and elsewhere the mean of all tasks corrected by the kernel."""
    g = len(grid.ranks)
    out = np.full((len(tasks), g), np.nan)
    for surface, task in zip(out, tasks, strict=True):
        surface[task.rows] = task.y
    if not np.isnan(out).any():
        return out
    scales = replace(scales, own=max(scales.own, 0.02))  # a Gram matrix of nearly equal rows must stay invertible
    common = np.full(g, float(np.mean(np.concatenate([task.y for task in tasks]))))
    gaps = [
        (surface, task, missing, _pull(grid, missing, task.rows, scales))
        for surface, task in zip(out, tasks, strict=True)
        if len(missing := np.setdiff1d(np.arange(g), task.rows))
    ]
    for _ in range(2):  # the mean depends on every surface, and each surface on the mean
        for surface, task, missing, pull in gaps:
            surface[missing] = common[missing] + pull @ (task.y - common[task.rows])
        common = out.mean(axis=0)
    return out


def _pull(grid: JointGrid, missing: np.ndarray, measured: np.ndarray, scales: kernel.Scales) -> np.ndarray:
    """`[missing, measured]` weights with which deviations at measured rows correct the missing rows."""
    gram = kernel.variance(grid.axes, grid.ranks[measured], scales)
    cross = kernel.covariance(grid.axes, grid.ranks[missing], grid.ranks[measured], scales)
    return cho_solve(cho_factor(gram), cross.T).T


def _directions(surfaces: np.ndarray, tasks: Sequence[TaskMeasurements], ridge: float) -> np.ndarray:
    """`[T, g]` residuals whose outer products sum to their mean over groups: workloads of one model are one sample."""
    _, which, count = np.unique(_groups(tasks), return_inverse=True, return_counts=True)
    return _residuals(surfaces, tasks, ridge) / np.sqrt(len(count) * count[which])[:, None]


def _weights(facts: np.ndarray, at: np.ndarray, ridge: float) -> tuple[np.ndarray, float]:
    """`[T]` weights of tasks with facts `[T, p]` in a prediction at `[p]`, and its variance in units of one task's."""
    t = len(facts)
    w = np.full(t, 1 / t)
    if np.isfinite(ridge):
        centre = facts.mean(axis=0)
        x = facts - centre
        w = w + x @ np.linalg.solve(x.T @ x + ridge * t * np.eye(x.shape[1]), at - centre)
    return w, 1 + float(w @ w)


def _facts(tasks: Sequence[TaskMeasurements]) -> np.ndarray:
    return np.stack([task.facts for task in tasks])


def _groups(tasks: Sequence[TaskMeasurements]) -> np.ndarray:
    return np.array([task.group for task in tasks])


def _ridges(tasks: Sequence[TaskMeasurements]) -> tuple[float, ...]:
    enough = len(tasks[0].facts) > 0 and len(set(_groups(tasks))) > 2
    return RIDGES if enough else RIDGES[:1]


def _residuals(surfaces: np.ndarray, tasks: Sequence[TaskMeasurements], ridge: float) -> np.ndarray:
    """`[T, g]` the residuals r_t of each task, predicted from tasks of other groups."""
    facts, groups = _facts(tasks), _groups(tasks)
    out = np.empty_like(surfaces)
    for t in range(len(tasks)):
        others = groups != groups[t] if len(set(groups)) > 1 else np.arange(len(tasks)) != t
        if not others.any():  # a single task: only its shape about its own mean can be used
            out[t] = surfaces[t] - surfaces[t].mean()
            continue
        w, v = _weights(facts[others], facts[t], ridge)
        out[t] = (surfaces[t] - w @ surfaces[others]) / np.sqrt(v)
    return out


def _error_left_out(surfaces: np.ndarray, tasks: Sequence[TaskMeasurements], ridge: float) -> float:
    """Mean squared residual where tasks were measured, in units of the expected variance."""
    residuals = _residuals(surfaces, tasks, ridge)
    return float(np.mean([np.mean(r[task.rows] ** 2) for r, task in zip(residuals, tasks, strict=True)]))


def _best_shrinkage(
    grid: JointGrid,
    surfaces: np.ndarray,
    sampled: Sequence[np.ndarray],
    tasks: Sequence[TaskMeasurements],
    prior: SourcePrior,
    noise: float,
) -> float:
    """γ under which left-out groups are most probable after a few of their measurements are known.

    A group that is left out has no part in the others' residuals either: with it they would show what it is like.
    """
    groups = _groups(tasks)
    if len(set(groups)) < 2:
        return 1.0
    residuals = _residuals(surfaces, tasks, prior.ridge)
    scores = np.zeros(len(SHRINKAGES))
    for left_out in dict.fromkeys(groups):
        kept = np.flatnonzero(groups != left_out)
        directions = _directions(surfaces[kept], [tasks[int(t)] for t in kept], prior.ridge)
        for t in np.flatnonzero(groups == left_out):
            rows = sampled[int(t)]
            empirical = directions[:, rows].T @ directions[:, rows]
            smooth = kernel.variance(grid.axes, grid.ranks[rows], prior.scales)
            for i, gamma in enumerate(SHRINKAGES):
                belief = Gaussian(np.zeros(len(rows)), (1 - gamma) * empirical + gamma * smooth, noise)
                scores[i] += sum(_log_density_of_rest(belief, residuals[t][rows], known) for known in KNOWN)
    return SHRINKAGES[int(np.argmax(scores))]


def _log_density_of_rest(prior: Gaussian, y: np.ndarray, known: int) -> float:
    """Mean log density, up to a constant, of y after its first `known` values, given these; 0 if there are no more."""
    if known >= len(y):
        return 0.0
    posterior = prior.given(np.arange(known), y[:known])
    variance = posterior.variance[known:] + prior.noise
    return float(np.mean(-0.5 * np.log(variance) - 0.5 * (y - posterior.mean)[known:] ** 2 / variance))
