"""Bayesian optimisation with a Gaussian process for each metric and for whether a configuration runs.

Constrained expected improvement: Gardner, Kusner, Xu, Weinberger, Cunningham, "Bayesian Optimization with Inequality
Constraints" (ICML 2014); Gelbart, Snoek, Adams, "Bayesian Optimization with Unknown Constraints" (UAI 2014), who also
model whether a trial ran.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from searchers.base import History, Problem, largest_free
from searchers.baselines.expected_improvement import goal_normal, log_chance, log_expected_improvement
from searchers.baselines.from_sources.metric_means import QuantityMean, quantity_means
from searchers.baselines.from_sources.source_values import unit_cube
from searchers.baselines.gaussian_process import fit, largest_or_random
from searchers.meta.metric_model import metric_model_of
from searchers.quantities import PRICE


class ConstrainedProcess:
    """Measures the largest expected improvement of the goal × P(limits are kept) × P(the configuration runs).

    A process of the logarithm of each metric that the goal or a limit names, fitted to the trials that measured it,
    and one of 1 and -1 for what ran and what did not (least-squares classification, Rasmussen and Williams 2006,
    section 6.5). All are taken to be independent, as in the papers. While nothing is feasible, what is maximised is
    the expected value × the two probabilities, where the papers take the probabilities alone: our choice.

    Args:
        problem: the space to search and the objective.
        random_first: number of random configurations at the start, as in `bo`; none where there are `means`.
        means: what is expected of each quantity before this service is measured; its process is then that of the
            residuals, with the spread that the sources' residuals have.
    """

    def __init__(
        self, problem: Problem, *, random_first: int = 5, means: Mapping[str, QuantityMean] | None = None
    ) -> None:
        self._problem = problem
        self._x = unit_cube(problem, problem.space.features)
        self._model, self._objective = metric_model_of(problem)
        self._means = means or {}
        self._random_first = 0 if self._means else random_first

    def suggest(self, history: History, rng: np.random.Generator) -> int | None:
        """The free position of the largest constrained expected improvement, or a random one."""
        if len(history.observed) < self._random_first or len(history.taken) == len(self._x):
            return largest_free(np.zeros(len(self._x)), history, rng)
        return largest_or_random(lambda: self._scores(history), len(self._x), history, rng)

    def _scores(self, history: History) -> np.ndarray:
        """`[n]` logarithm of the acquisition function."""
        usd = self._problem.usd_per_hour
        predicted = {
            quantity: normal
            for quantity in self._model.quantities
            if (normal := self._predicted(quantity, history)) is not None
        }
        chance = log_chance(self._objective, predicted, usd)
        if not self._objective.goal.names <= {*predicted, PRICE}:
            return chance.round(6)
        mean, std = goal_normal(self._objective, predicted, usd)
        best = self._problem.values(history).max(initial=0.0)
        return ((mean if best == 0 else log_expected_improvement(mean, std, np.log(best))) + chance).round(6)

    def _predicted(self, quantity: str, history: History) -> tuple[np.ndarray, np.ndarray] | None:
        """`[n]` mean and `[n]` standard deviation of a quantity; None where nothing is known of it."""
        at, y = self._model.measured(history.observed, quantity)
        known = self._means.get(quantity)
        if known is None:
            return fit(self._x[at], y).predict(self._x) if len(at) else None
        if not len(at):
            return known.mean, np.full(len(self._x), np.hypot(known.spread, known.level_spread))
        mean, std = fit(self._x[at], y - known.mean[at], spread=known.spread).predict(self._x)
        return known.mean + mean, std


def constrained_residual(problem: Problem) -> ConstrainedProcess:
    """`ConstrainedProcess` of each quantity's residuals from the sources' mean; without such a mean as it is."""
    return ConstrainedProcess(problem, means=quantity_means(problem))
