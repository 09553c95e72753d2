"""An ensemble of the sources' Gaussian processes, weighted by how well they rank what was measured.

Feurer, Letham, Bakshy, "Scalable Meta-Learning for Bayesian Optimization using Ranking-Weighted Gaussian
Process Ensembles" (AutoML workshop at ICML 2018).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from searchers.base import History, Problem
from searchers.baselines.bayesian import BayesianOptimisation
from searchers.baselines.expected_improvement import log_expected_improvement
from searchers.baselines.from_sources.source_studies import standardised
from searchers.baselines.from_sources.source_values import learnt_once, log_values, sources_of, unit_cube
from searchers.baselines.gaussian_process import GaussianProcess, fit, prior_then_largest

SAMPLES = 256  # of the ranking loss; our choice: gives weights to about 0.03


@dataclass(frozen=True, eq=False)
class BaseModel:
    """A source's process, with its predicted `[n]` mean and `[n]` standard deviation over this space."""

    process: GaussianProcess
    mean: np.ndarray
    std: np.ndarray


@learnt_once
def bases_of_sources(problem: Problem) -> tuple[BaseModel, ...]:
    """One process for each source whose values differ, fitted to at most 150 of its points."""
    studies, _ = standardised(sources_of(problem))
    processes = [fit(study.x, study.z) for study in studies]
    x = unit_cube(problem, problem.space.features)
    return tuple(BaseModel(process, *process.predict(x)) for process in processes)


def misranked(samples: np.ndarray, y: np.ndarray) -> np.ndarray:
    """`[samples]` number of ordered pairs of `[k]` measured values that each row of `[samples, k]` orders differently.

    L = Σ_j Σ_k 1[(f_j < f_k) ⊕ (y_j < y_k)].
    """
    said = samples[:, :, None] < samples[:, None, :]
    return (said != (y[:, None] < y[None, :])).sum(axis=(1, 2))


def ranking_weights(losses: np.ndarray) -> np.ndarray:
    """`[s + 1]` fraction of samples in which each process has the smallest of the `[s + 1, samples]` losses.

    The last process is this service's own. Ties are shared. A source whose median loss is above the 95th percentile
    of the last one's has no weight, so that many poor sources together cannot outweigh it.
    """
    poor = np.median(losses, axis=1) > np.percentile(losses[-1], 95)
    poor[-1] = False
    losses = np.where(poor[:, None], np.inf, losses)
    least = losses == losses.min(axis=0)
    return (least / least.sum(axis=0)).mean(axis=1)


class RankingWeighted:
    """RGPE: mean Σ w_i μ_i, variance Σ w_i² σ_i² over the sources' processes and this service's own; log EI.

    The service's own process is judged by leaving each point out, as in the paper. Before the first feasible value,
    all sources have the same weight. The improvement is relative to the ensemble's largest mean at the measured
    configurations, as the processes' scales are not the same: our choice. It is `bo` without sources.

    Args:
        problem: the space to search, the objective, and the sources.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._x = unit_cube(problem, problem.space.features)
        self._alone = BayesianOptimisation(problem)
        self._bases = bases_of_sources(problem)

    def suggest(self, history: History, rng: np.random.Generator) -> int | None:
        """The free position of the largest expected improvement; of the largest mean while none is feasible."""
        if not self._bases:
            return self._alone.suggest(history, rng)
        prior = np.mean([b.mean for b in self._bases], axis=0).round(6)
        return prior_then_largest(self._problem, prior, lambda values: self._scores(history, values, rng), history, rng)

    def _scores(self, history: History, values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        y = log_values(values)
        positions = [o.position for o in history.observed]
        own = fit(self._x[positions], (y - y.mean()) / (y.std() if y.std() > 1e-9 else 1.0))
        weights = ranking_weights(self._losses(own, positions, y, rng))
        own_mean, own_std = own.predict(self._x)
        mean = weights @ np.stack([*(b.mean for b in self._bases), own_mean])
        std = np.sqrt(weights**2 @ np.stack([*(b.std**2 for b in self._bases), own_std**2]))
        return log_expected_improvement(mean, std, mean[positions].max())

    def _losses(
        self, own: GaussianProcess, positions: list[int], y: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """`[s + 1, samples]` ranking losses of all processes at the measured points."""
        losses = []
        for base in self._bases:
            mean, covariance = base.process.joint(self._x[positions])
            samples = rng.multivariate_normal(mean, covariance, SAMPLES, method="eigh")
            losses.append(misranked(samples, y))
        mean, std = own.left_out()
        losses.append(misranked(rng.normal(mean, std, (SAMPLES, len(y))), y))
        return np.stack(losses)
