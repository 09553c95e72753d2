"""Google Vizier's transfer learning: a stack of Gaussian processes, each fitted to the residuals of those below.

Golovin et al., "Google Vizier: A Service for Black-Box Optimization" (KDD 2017), section 3.3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from searchers.base import History, Problem
from searchers.baselines.bayesian import BayesianOptimisation, SourceMean
from searchers.baselines.expected_improvement import log_expected_improvement
from searchers.baselines.from_sources.source_studies import StandardisedSource, standardised
from searchers.baselines.from_sources.source_values import learnt_once, sources_of, unit_cube
from searchers.baselines.gaussian_process import GaussianProcess, fit, prior_then_largest

LEVELS = 3  # of the stack below this service, at most; see `grouped`
LEVEL_POINTS = 300  # of a level, at most; our choice: a second to fit

Predict = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""`[n, d]` points → `[n]` mean and `[n]` standard deviation."""


def grouped(studies: Sequence[StandardisedSource]) -> list[StandardisedSource]:
    """At most LEVELS studies, each pooled from every LEVELS-th source and reduced to LEVEL_POINTS. Our choice.

    A level with many points overrides those below. The paper's levels are a user's studies in the order of time, the
    last the most similar; sources have no such order, so no single one should be at the top: each level is a mix.
    """
    rng = np.random.default_rng(0)
    levels = min(LEVELS, len(studies))
    out = []
    for group in (studies[level::levels] for level in range(levels)):
        x, z = np.concatenate([s.x for s in group]), np.concatenate([s.z for s in group])
        some = rng.permutation(len(z))[:LEVEL_POINTS]
        out.append(StandardisedSource(x[some], z[some]))
    return out


def stacked(below: Predict | None, points_below: int, top: GaussianProcess, points: int) -> Predict:
    """Add a level to the stack: means add up, standard deviations are a weighted geometric mean (section 3.3).

    σ = σ_top^β · σ_below^(1−β) with β = α·k / (α·k + k_below), k and k_below the numbers of points of the two levels
    and α = 1 (the paper: about 1). The first level is used alone.
    """
    if below is None:
        return top.predict
    beta = points / (points + points_below)

    def predict(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        (mean, std), (mean_below, std_below) = top.predict(x), below(x)
        return mean_below + mean, std**beta * std_below ** (1 - beta)

    return predict


@dataclass(frozen=True, eq=False)
class Stack:
    """Prediction for this space by the processes of all sources together.

    Args:
        prior: mean of every configuration, and the unit.
        std: `[n]` standard deviation of every configuration, in that unit.
        points: number of points of the topmost level.
    """

    prior: SourceMean
    std: np.ndarray
    points: int


@learnt_once
def stack_of_sources(problem: Problem) -> Stack | None:
    """Fit a process for each level, in order, to the residuals of the stack so far; None without sources."""
    studies, unit = standardised(sources_of(problem))
    below: Predict | None = None
    points = 0
    for study in grouped(studies):
        explained = 0.0 if below is None else below(study.x)[0]
        below = stacked(below, points, fit(study.x, study.z - explained), len(study.z))
        points = len(study.z)
    if below is None:
        return None
    mean, std = below(unit_cube(problem, problem.space.features))
    return Stack(SourceMean(mean, unit), std, points)


class Vizier:
    """The stack of the sources with this service's process on top; measures the largest log expected improvement.

    It starts at the maximum of the stack's mean, has no random phase, and is `bo` without sources. Sources are
    standardised one by one, and of this service only the level is estimated from its own values: our choice. The
    standard deviation is the paper's, which hardly decreases when a level has few points and the one below many.

    Args:
        problem: the space to search, the objective, and the sources.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._x = unit_cube(problem, problem.space.features)
        self._alone = BayesianOptimisation(problem)
        self._stack = stack_of_sources(problem)

    def suggest(self, history: History, rng: np.random.Generator) -> int | None:
        """The free position of the largest expected improvement; of the largest mean while none is feasible."""
        stack = self._stack
        if stack is None:
            return self._alone.suggest(history, rng)

        def scores(values: np.ndarray) -> np.ndarray:
            positions = [o.position for o in history.observed]
            residual = stack.prior.residual(positions, values)
            top = fit(self._x[positions], residual)
            predict = stacked(lambda x: (stack.prior.mean, stack.std), stack.points, top, len(values))
            mean, std = predict(self._x)
            best = (stack.prior.mean[positions] + residual).max()
            return log_expected_improvement(mean, std, best)

        return prior_then_largest(self._problem, stack.prior.mean.round(6), scores, history, rng)
