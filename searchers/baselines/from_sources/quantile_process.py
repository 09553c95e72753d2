"""Quantile-based transfer that adapts: a Gaussian process of normal scores, with the sources' network as its prior.

Salinas, Shen, Perrone, "A Quantile-based Approach for Hyperparameter Transfer Learning" (ICML 2020).
"""

from __future__ import annotations

import numpy as np

from searchers.base import History, Problem
from searchers.baselines.bayesian import BayesianOptimisation
from searchers.baselines.expected_improvement import log_expected_improvement
from searchers.baselines.from_sources.quantile_transfer import normal_scores, usual_scores
from searchers.baselines.from_sources.source_values import unit_cube
from searchers.baselines.gaussian_process import fit, prior_then_largest


class QuantileProcess:
    """The paper's second form (GCP): a Gaussian process of r = (z - μ(x)) / σ(x), which adapts to this service.

    z are the normal scores of what was measured among itself, μ and σ the sources' network's. The prediction is
    N(μ + σ·m, (σ·s)²) with m and s the process's of r, and the largest log expected improvement is measured. It starts
    at the largest μ; without sources it is `bo`.

    The residuals' unit is 1, as r is in standard deviations already, and their mean is taken out, as few values are
    ranked among themselves and not among a table: our choices.

    Args:
        problem: the space to search, the objective, and the sources.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._x = unit_cube(problem, problem.space.features)
        self._usual = usual_scores(problem)
        self._alone = BayesianOptimisation(problem)

    def suggest(self, history: History, rng: np.random.Generator) -> int | None:
        """The free position of the largest expected improvement; of the largest μ while none is feasible."""
        if self._usual is None:
            return self._alone.suggest(history, rng)
        usual, spread = self._usual

        def scores(values: np.ndarray) -> np.ndarray:
            at = [o.position for o in history.observed]
            z = normal_scores(values)
            mean, std = fit(self._x[at], (z - usual[at]) / spread[at], spread=1.0).predict(self._x)
            return log_expected_improvement(usual + spread * mean, spread * std, z.max())

        return prior_then_largest(self._problem, usual.round(6), scores, history, rng)
