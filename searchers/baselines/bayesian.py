"""Bayesian optimisation with a Gaussian process, of the values or of their residuals from the sources' mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from searchers.base import History, Problem, largest_free
from searchers.baselines.expected_improvement import log_expected_improvement
from searchers.baselines.from_sources.source_values import learnt_once, log_values, sources_of, unit_cube
from searchers.baselines.gaussian_process import fit, prior_then_largest


class BayesianOptimisation:
    """Models ln(value) by BoTorch's default Gaussian process; measures the largest log expected improvement.

    In logarithms a factor of two is the same step everywhere; an infeasible configuration is taken to be as bad as
    the worst feasible one. All free configurations are scored, as there are finitely many. Searchers that learn from
    sources fall back on this one when the sources are of no use.

    Args:
        problem: the space to search and the objective.
        random_first: number of random configurations at the start; they continue while none is feasible. Our choice.
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
    """Prediction from the sources for a service that has not been measured yet, in standard deviations of ln(value).

    Args:
        mean: `[n]` predicted mean of every configuration.
        unit: the sources' median standard deviation of ln(value), by which this service's ln(value) is divided.
    """

    mean: np.ndarray
    unit: float

    def residual(self, positions: list[int], values: np.ndarray) -> np.ndarray:
        """`[k]` residuals of the values observed at `positions`, after the mean and this service's level.

        Only the level is estimated: the few values of a search, most of them good, say little about the spread.
        """
        apart = log_values(values) / self.unit - self.mean[positions]
        return apart - apart.mean()


@learnt_once
def mean_of_sources(problem: Problem) -> SourceMean | None:
    """The mean over sources of ln(value), standardised by source; None if no usable source knows this space.

    A source is usable if its values differ and it has a configuration of this space. A configuration that no source
    has is taken to be as good as the average one.
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
    """Adds to the sources' mean a Gaussian process of its residuals on this service.

    The simplest transfer that adapts: `portfolio` with a Gaussian process on top. It starts at the maximum of the
    sources' mean, has no random phase, and is `bo` if no source has a configuration of this space.

    Args:
        problem: the space to search, the objective, and the sources.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._x = unit_cube(problem, problem.space.features)
        self._prior = mean_of_sources(problem)
        self._alone = BayesianOptimisation(problem)

    def suggest(self, history: History, rng: np.random.Generator) -> int | None:
        """The free position of the largest expected improvement; of the largest mean while none is feasible."""
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
