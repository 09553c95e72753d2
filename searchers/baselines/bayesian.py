"""Bayesian optimisation with a Gaussian process, alone or on what the sources leave unexplained."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from searchers.base import History, Problem
from searchers.baselines.gaussian_process import fit, log_expected_improvement, prior_then_largest
from searchers.baselines.source_values import learnt_once, log_values, sources_of, unit_cube
from searchers.choice import largest_free


class BayesianOptimisation:
    """BoTorch's default process of ln(value); measures where the log expected improvement is largest.

    The logarithm makes a factor of two the same step everywhere; what does not count is as bad as the worst
    that does. All free configurations are scored, as there are finitely many. Fallback of searchers whose
    sources say nothing.

    Args:
        problem: the space to search and what counts as good.
        random_first: how many random configurations come first, and again as long as nothing counts. Our choice.
    """

    def __init__(self, problem: Problem, *, random_first: int = 5) -> None:
        self._problem = problem
        self._x = unit_cube(problem, problem.space.features)
        self._random_first = random_first

    def suggest(self, history: History, rng: np.random.Generator) -> int | None:
        """The free position of the largest expected improvement, or a random one."""
        none_better = np.zeros(len(self._x))
        if len(history.observed) < self._random_first:
            return largest_free(none_better, history, rng)

        def scores(values: np.ndarray) -> np.ndarray:
            y = log_values(values)
            mean, std = fit(self._x[[o.position for o in history.observed]], y).predict(self._x)
            return log_expected_improvement(mean, std, y.max())

        return prior_then_largest(self._problem, none_better, scores, history, rng)


@dataclass(frozen=True, eq=False)
class SourceMean:
    """What sources say of a service that nobody measured yet, in standard deviations of ln(value).

    Args:
        mean: `[n]` of every configuration.
        unit: the sources' median standard deviation of ln(value): turns this service's values into that unit.
    """

    mean: np.ndarray
    unit: float

    def residual(self, positions: list[int], values: np.ndarray) -> np.ndarray:
        """`[k]` what mean and this service's level leave unexplained of the values observed at positions.

        Only the level is estimated: the few values of a search, most of them good, say little of the spread.
        """
        apart = log_values(values) / self.unit - self.mean[positions]
        return apart - apart.mean()


@learnt_once
def mean_of_sources(problem: Problem) -> SourceMean | None:
    """The mean over sources of ln(value), standardised by source; None if they know nothing of this space.

    A configuration that no source has is taken to be as good as the average one.
    """
    total, times, units = np.zeros(len(problem.space)), np.zeros(len(problem.space)), []
    for source in sources_of(problem):
        y = log_values(source.values)
        here = source.positions >= 0
        if y.std() < 1e-9 or not here.any():
            continue
        units.append(y.std())
        np.add.at(total, source.positions[here], ((y - y.mean()) / y.std())[here])
        np.add.at(times, source.positions[here], 1)
    if not units:
        return None
    mean = total / np.maximum(times, 1)
    return SourceMean(np.where(times > 0, mean, mean[times > 0].mean()), float(np.median(units)))


class ResidualProcess:
    """The sources' mean, corrected by a process of what it leaves unexplained on this service.

    The simplest transfer that adapts: `portfolio` with a Gaussian process on top. It starts at the top of the
    sources' mean, has no random phase, and is `bo` where no source knows a configuration of this space.

    Args:
        problem: the space to search, what counts as good, and the sources.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._x = unit_cube(problem, problem.space.features)
        self._prior = mean_of_sources(problem)
        self._alone = BayesianOptimisation(problem)

    def suggest(self, history: History, rng: np.random.Generator) -> int | None:
        """The free position of the largest expected improvement; of the largest mean while nothing counts."""
        prior = self._prior
        if prior is None:
            return self._alone.suggest(history, rng)

        def scores(values: np.ndarray) -> np.ndarray:
            positions = [o.position for o in history.observed]
            residual = prior.residual(positions, values)
            mean, std = fit(self._x[positions], residual).predict(self._x)
            best = (prior.mean[positions] + residual).max()
            return log_expected_improvement(prior.mean + mean, std, best)

        return prior_then_largest(self._problem, prior.mean.round(9), scores, history, rng)
