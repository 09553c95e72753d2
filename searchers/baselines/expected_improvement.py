"""Expected improvement, and what it takes for metrics whose logarithms are normal: the goal's and the limits' share.

It needs no library for Gaussian processes, so that searchers with processes of their own can use it too.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.special import erfcx, log_ndtr, ndtr

from searchers.meta.metric_model import FEASIBLE
from searchers.objective import Objective
from searchers.quantities import PRICE

Normals = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""Quantity → `[n]` mean and `[n]` standard deviation of its logarithm at every configuration; of ±1 for `FEASIBLE`."""

_DRAWS = 64
"""Draws by which the goal's mean and deviation are computed. Our choice: those of a product of powers are exact
whatever the number, and other goals need no more than about a tenth of a deviation."""


def log_expected_improvement(mean: np.ndarray, std: np.ndarray, best: float) -> np.ndarray:
    """`[n]` ln E[max(f − best, 0)] for f ~ N(mean, std²) (LogEI of Ament et al. 2023).

    = ln σ + ln(φ(z) + z Φ(z)) with z = (μ − best) / σ. For z < −1 the two terms nearly cancel, so φ is factored out
    and Φ/φ is the scaled complementary error function; for very negative z the sum is φ(z) / z². The result is rounded
    to a millionth, so that smaller differences are ties, which are broken at random.
    """
    z = (mean - best) / std
    log_density = -0.5 * z**2 - 0.5 * np.log(2 * np.pi)
    near, far = np.maximum(z, -1.0), np.clip(z, -1e5, -1.0)
    above = np.log(np.exp(-0.5 * near**2) / np.sqrt(2 * np.pi) + near * ndtr(near))
    below = np.log1p(far * np.sqrt(np.pi / 2) * erfcx(-far / np.sqrt(2)))
    below = np.where(z < -1e5, -2 * np.log(np.maximum(-z, 1.0)), below)
    return (np.log(std) + np.where(z > -1, above, log_density + below)).round(6)


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
