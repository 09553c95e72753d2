"""Bayesian optimisation with a Gaussian process for each metric and for whether a configuration runs.

Constrained expected improvement: Gardner, Kusner, Xu, Weinberger, Cunningham, "Bayesian Optimization with Inequality
Constraints" (ICML 2014); Gelbart, Snoek, Adams, "Bayesian Optimization with Unknown Constraints" (UAI 2014), who also
model whether a trial ran.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.special import log_ndtr

from searchers.base import History, Problem, largest_free
from searchers.baselines.from_sources.metric_means import QuantityMean, quantity_means
from searchers.baselines.from_sources.source_values import unit_cube
from searchers.baselines.gaussian_process import fit, largest_or_random, log_expected_improvement
from searchers.meta.metric_model import FEASIBLE, metric_model_of
from searchers.objective import Objective
from searchers.quantities import PRICE

Normals = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""Quantity → `[n]` mean and `[n]` standard deviation of its logarithm at every configuration; of ±1 for `FEASIBLE`."""

_DRAWS = 64
"""Draws by which the goal's mean and deviation are computed. Our choice: those of a product of powers are exact
whatever the number, and other goals need no more than about a tenth of a deviation."""


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


def log_chance(objective: Objective, predicted: Normals, usd_per_hour: np.ndarray) -> np.ndarray:
    """`[n]` ln of the probability that a configuration runs and keeps its limits; what is not predicted is certain."""
    out = np.zeros(len(usd_per_hour))
    if FEASIBLE in predicted:
        mean, std = predicted[FEASIBLE]
        out += log_ndtr(mean / std)
    for limits, sign in ((objective.at_most, 1.0), (objective.at_least, -1.0)):
        for name, limit in limits.items():
            if name == PRICE:
                out += np.where(sign * usd_per_hour <= sign * limit, 0.0, -np.inf)
            elif name in predicted:
                mean, std = predicted[name]
                with np.errstate(divide="ignore"):
                    out += log_ndtr(sign * (np.log(max(limit, 0.0)) - mean) / std)
    return out


def goal_normal(objective: Objective, predicted: Normals, usd_per_hour: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`[n]` mean and `[n]` standard deviation of ln(value), which is taken to be normal, without the limits.

    The moments are those of draws that have mean 0 and covariance 1 exactly, so they are exact where the goal is a
    product of powers. Draws without a value (a difference below 0) do not count; where all have none, the value is the
    worst that there is.
    """
    names = sorted(objective.goal.names - {PRICE})
    free = Objective(objective.goal, objective.minimize)
    drawn = {
        name: np.exp(predicted[name][0] + predicted[name][1] * z[:, None])
        for name, z in zip(names, _standard_draws(len(names)), strict=True)
    }
    values = np.broadcast_to(free.values(drawn, usd_per_hour), (_DRAWS, len(usd_per_hour)))
    logs = np.log(values, where=values > 0, out=np.full(values.shape, np.nan))
    logs[:, np.isnan(logs).all(axis=0)] = np.nanmin(logs, initial=0.0)
    return np.nanmean(logs, axis=0), np.maximum(np.nanstd(logs, axis=0), 1e-6)


def _standard_draws(quantities: int) -> np.ndarray:
    """`[quantities, _DRAWS]` normal draws, always the same, with mean 0 and covariance 1 exactly."""
    z = np.random.default_rng(0).standard_normal((quantities, _DRAWS))
    z -= z.mean(axis=1, keepdims=True)
    return np.linalg.solve(np.linalg.cholesky(np.cov(z, bias=True).reshape(quantities, quantities)), z)


def constrained_residual(problem: Problem) -> ConstrainedProcess:
    """`ConstrainedProcess` of each quantity's residuals from the sources' mean; without such a mean as it is."""
    return ConstrainedProcess(problem, means=quantity_means(problem))
