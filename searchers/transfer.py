"""From what other services measured to a belief about this one, for one quantity.

A new service is expected where the others' facts point to, and may differ from that as each of them differs from
what the rest say of it (leave one group out). So the belief's width is not assumed, but measured.

    ŷ_t       surface of task t over the grid: measured, and completed by the kernel where it was not
    w_t(f)    weights of ridge regression with intercept on the tasks' facts f
    mean      Σ_t w_t(f*) ŷ_t
    r_t       (ŷ_t - Σ_s w_s(f_t) ŷ_s) / √v_t over tasks s of other groups; v = 1 + Σ w²
    C         v* · [(1 - γ) · mean_t r_t r_tᵀ + γ · k], k the kernel fitted to the r_t

Shrinking an empirical covariance to a structured one: Ledoit, Wolf 2004. An empirical covariance as a prior for
optimisation: Wang et al. 2024, "Pre-trained Gaussian processes for Bayesian optimization", section 4.

Notation: T tasks, g rows of the grid, n of them the problem's, p facts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from searchers import kernel
from searchers.atlas import Atlas
from searchers.gaussian import Gaussian

RIDGES = (np.inf, 3.0, 0.3, 0.03)
"""Strengths of the penalty on facts that are tried; infinite ignores them."""
SHRINKAGES = (1.0, 0.7, 0.4, 0.2, 0.1, 0.05)
"""γ that are tried."""
FIT_ROWS = 96
"""Most rows of a task that the kernel is fitted to, and that γ is judged on."""


@dataclass(frozen=True)
class Evidence:
    """What one source task measured of the quantity.

    Args:
        rows: `[k]` rows of the grid, each once.
        y: `[k]` values.
        facts: `[p]` standardised facts.
        group: tasks of one group are the same model.
    """

    rows: np.ndarray
    y: np.ndarray
    facts: np.ndarray
    group: str


@dataclass(frozen=True)
class Lesson:
    """What the sources say of how services differ, whatever the service at hand.

    Args:
        ridge: penalty on facts.
        scales: of the kernel.
        gamma: how much of the covariance is the kernel's.
    """

    ridge: float
    scales: kernel.Scales
    gamma: float


def learn(grid: Atlas, tasks: Sequence[Evidence], noise: float) -> Lesson:
    """Choose ridge, kernel and shrinkage so that groups left out are predicted best.

    Args:
        grid: of the sources.
        tasks: the T sources.
        noise: variance of one measurement.
    """
    rng = np.random.default_rng(0)
    surfaces = _completed(grid, tasks, kernel.generic(grid.axes))
    ridge = min(_ridges(tasks), key=lambda ridge: _error_left_out(surfaces, tasks, ridge))
    residuals = _residuals(surfaces, tasks, ridge)
    sampled = [_some_rows(task.rows, rng) for task in tasks]
    seen = [(grid.ranks[rows], residual[rows]) for rows, residual in zip(sampled, residuals, strict=True)]
    scales = kernel.fit(grid.axes, seen, kernel.generic(grid.axes))
    return Lesson(ridge, scales, _best_shrinkage(grid, residuals, sampled, tasks, scales, noise, rng))


def belief(grid: Atlas, tasks: Sequence[Evidence], lesson: Lesson, facts: np.ndarray, noise: float) -> Gaussian:
    """The belief about the problem's configurations that its sources support.

    Args:
        grid: of the problem and its sources.
        tasks: the T sources.
        lesson: learned from them.
        facts: `[p]` standardised facts of the problem.
        noise: variance of one measurement.
    """
    surfaces = _completed(grid, tasks, lesson.scales)
    residuals = _residuals(surfaces, tasks, lesson.ridge)[:, : grid.n]
    w, v = _weights(_facts(tasks), facts, lesson.ridge)
    own = grid.ranks[: grid.n]
    smooth = kernel.covariance(grid.axes, own, own, lesson.scales)
    smooth[np.diag_indices_from(smooth)] += lesson.scales.own**2
    empirical = residuals.T @ residuals / len(tasks)
    mixed = (1 - lesson.gamma) * empirical + lesson.gamma * smooth
    return Gaussian(w @ surfaces[:, : grid.n], v * mixed, noise)


def _some_rows(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rows if len(rows) <= FIT_ROWS else rng.choice(rows, FIT_ROWS, replace=False)


def _completed(atlas: Atlas, tasks: Sequence[Evidence], scales: kernel.Scales) -> np.ndarray:
    """`[T, g]` surfaces; measured where measured, elsewhere the mean of all tasks corrected by the kernel."""
    g = len(atlas.ranks)
    out = np.full((len(tasks), g), np.nan)
    for surface, task in zip(out, tasks, strict=True):
        surface[task.rows] = task.y
    if not np.isnan(out).any():
        return out
    common = np.full(g, float(np.mean(np.concatenate([task.y for task in tasks]))))
    for _ in range(2):  # the mean of all needs every surface, and each surface the mean
        for surface, task in zip(out, tasks, strict=True):
            missing = np.setdiff1d(np.arange(g), task.rows)
            gram = kernel.covariance(atlas.axes, atlas.ranks[task.rows], atlas.ranks[task.rows], scales)
            gram[np.diag_indices_from(gram)] += scales.own**2
            error = cho_solve(cho_factor(gram), task.y - common[task.rows])
            cross = kernel.covariance(atlas.axes, atlas.ranks[missing], atlas.ranks[task.rows], scales)
            surface[missing] = common[missing] + cross @ error
        common = out.mean(axis=0)
    return out


def _weights(facts: np.ndarray, at: np.ndarray, ridge: float) -> tuple[np.ndarray, float]:
    """`[T]` weights of the tasks in a prediction at facts `[p]`, and its variance in units of one task's."""
    t = len(facts)
    if np.isinf(ridge) or facts.shape[1] == 0:
        w = np.full(t, 1 / t)
        return w, 1 + float(w @ w)
    centre = facts.mean(axis=0)
    x = facts - centre
    # With x centred the intercept is the mean, and w = 1/T + x (xᵀx + ridge·T·I)⁻¹ (f - centre).
    slope = np.linalg.solve(x.T @ x + ridge * t * np.eye(x.shape[1]), at - centre)
    w = 1 / t + x @ slope
    return w, 1 + float(w @ w)


def _facts(tasks: Sequence[Evidence]) -> np.ndarray:
    return np.stack([task.facts for task in tasks])


def _ridges(tasks: Sequence[Evidence]) -> tuple[float, ...]:
    return RIDGES if len(tasks[0].facts) and len({task.group for task in tasks}) > 2 else RIDGES[:1]


def _residuals(surfaces: np.ndarray, tasks: Sequence[Evidence], ridge: float) -> np.ndarray:
    """`[T, g]` the residuals r_t of tasks predicted from other groups."""
    facts, groups = _facts(tasks), np.array([task.group for task in tasks])
    out = np.empty_like(surfaces)
    for t in range(len(tasks)):
        others = groups != groups[t] if len(set(groups)) > 1 else np.arange(len(tasks)) != t
        if not others.any():  # a single task: its shape about its own level is all there is to go by
            out[t] = surfaces[t] - surfaces[t].mean()
            continue
        w, v = _weights(facts[others], facts[t], ridge)
        out[t] = (surfaces[t] - w @ surfaces[others]) / np.sqrt(v)
    return out


def _error_left_out(surfaces: np.ndarray, tasks: Sequence[Evidence], ridge: float) -> float:
    """Mean squared error, in units of the predicted variance, plus the logarithm of the latter."""
    residuals = _residuals(surfaces, tasks, ridge)
    return float(np.mean([np.mean(r[task.rows] ** 2) for r, task in zip(residuals, tasks, strict=True)]))


def _best_shrinkage(
    grid: Atlas,
    residuals: np.ndarray,
    sampled: Sequence[np.ndarray],
    tasks: Sequence[Evidence],
    scales: kernel.Scales,
    noise: float,
    rng: np.random.Generator,
) -> float:
    """γ under which what a group left out measured is most probable after a few of its measurements are known."""
    groups = np.array([task.group for task in tasks])
    if len(set(groups)) < 2:
        return 1.0
    scores = np.zeros(len(SHRINKAGES))
    for group in dict.fromkeys(groups):
        others = residuals[groups != group]
        for t in np.flatnonzero(groups == group):
            rows = rng.permutation(sampled[t])
            empirical = others[:, rows].T @ others[:, rows] / len(others)
            y = residuals[t][rows]
            smooth = kernel.covariance(grid.axes, grid.ranks[rows], grid.ranks[rows], scales)
            smooth[np.diag_indices_from(smooth)] += scales.own**2
            for i, gamma in enumerate(SHRINKAGES):
                prior = Gaussian(np.zeros(len(rows)), (1 - gamma) * empirical + gamma * smooth, noise)
                for known in (0, 3, 10):
                    if known < len(rows):
                        posterior = prior.given(np.arange(known), y[:known])
                        rest = slice(known, None)
                        spread = posterior.variance[rest] + noise
                        error = (y - posterior.mean)[rest]
                        scores[i] += np.mean(-0.5 * np.log(spread) - 0.5 * error**2 / spread)
    return SHRINKAGES[int(np.argmax(scores))]
