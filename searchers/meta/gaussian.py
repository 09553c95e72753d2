"""A belief about one quantity over all configurations: jointly Gaussian, of a scale that is itself uncertain.

Notation: n configurations, k measurements, S samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.special import gammaln

SCALE_WEIGHT = 5.0
"""How many measurements the prior's own scale is worth: ν of a Student-t process (Shah, Wilson, Ghahramani 2014,
section 3). Our choice."""

SAMPLED = np.float32
"""Samples are many, and nobody reads their seventh digit: half the memory to go through, and half the time."""

_JITTER = 1e-9


@dataclass(frozen=True)
class Gaussian:
    """What a quantity may be at each configuration, before anything was measured.

    Args:
        mean: `[n]` expectation.
        covariance: `[n, n]`.
        noise: variance of one measurement.
        floating: whether nothing is known of the level, so that it moves to where the first measurements are,
            whatever their unit.
    """

    mean: np.ndarray
    covariance: np.ndarray
    noise: float
    floating: bool = False

    def deviations(self, samples: int, rng: np.random.Generator) -> np.ndarray:
        """`[S, n]` joint samples less the mean, in SAMPLED precision."""
        return rng.standard_normal((samples, len(self.mean))).astype(SAMPLED) @ self._root.T.astype(SAMPLED)

    @cached_property
    def _root(self) -> np.ndarray:
        """`[n, n]` lower Cholesky factor; kept, as several metrics may share one belief."""
        n = len(self.mean)
        jitter = (_JITTER + 1e-8 * float(np.trace(self.covariance)) / n) * np.eye(n)
        return cholesky(self.covariance + jitter, lower=True, check_finite=False)

    def given(self, at: np.ndarray, y: np.ndarray) -> Posterior:
        """What remains possible after `[k]` measurements y at positions `at`, each position once."""
        k = len(at)
        gram = self.covariance[np.ix_(at, at)] + (self.noise + _JITTER) * np.eye(k)
        factor = cholesky(gram, lower=True, check_finite=False) if k else gram
        error = y - self.mean[at]
        level = float(error.mean()) if k and self.floating else 0.0
        error = error - level
        white = solve_triangular(factor, error, lower=True, check_finite=False) if k else error
        mean = self.mean + level + _solve(factor, error) @ self.covariance[at]
        # Student-t: measurements farther off than expected widen all that is left, nearer ones narrow it.
        scale = (SCALE_WEIGHT + float(white @ white)) / (SCALE_WEIGHT + k)
        return Posterior(self, at, factor, mean, scale, _student_log_density(white, factor))


def _solve(factor: np.ndarray, right: np.ndarray) -> np.ndarray:
    return cho_solve((factor, True), right, check_finite=False) if len(factor) else right


def _student_log_density(white: np.ndarray, factor: np.ndarray) -> float:
    """Log density of measurements L·white under a multivariate Student-t of SCALE_WEIGHT degrees of freedom."""
    k, nu = len(white), SCALE_WEIGHT
    tail = gammaln((nu + k) / 2) - gammaln(nu / 2) - 0.5 * k * np.log(nu * np.pi)
    return float(tail - np.log(np.diag(factor)).sum() - 0.5 * (nu + k) * np.log1p(white @ white / nu))


@dataclass(frozen=True)
class Posterior:
    """A belief after measurements.

    Args:
        prior: the belief before.
        at: `[k]` positions measured.
        factor: `[k, k]` lower Cholesky factor of their covariance with noise.
        mean: `[n]` expectation.
        scale: what variances are multiplied by.
        log_density: of the measurements under the prior.
    """

    prior: Gaussian
    at: np.ndarray
    factor: np.ndarray
    mean: np.ndarray
    scale: float
    log_density: float

    @cached_property
    def variance(self) -> np.ndarray:
        """`[n]` variance of the quantity itself, without a measurement's noise."""
        half = self.prior.covariance[self.at]
        if len(self.at):
            half = solve_triangular(self.factor, half, lower=True, check_finite=False)
        return self.scale * np.maximum(np.diag(self.prior.covariance) - (half**2).sum(axis=0), _JITTER)

    def samples(self, deviations: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """`[S, n]` joint samples, by correcting samples of the prior (Matheron's rule; Wilson et al. 2020, Eq. 9).

        Args:
            deviations: `[S, n]` samples of the prior less its mean.
            noise: `[S, k]` standard normal numbers.
        """
        seen = deviations[:, self.at] + np.sqrt(self.prior.noise) * noise
        pull = _solve(self.factor, seen.T).T.astype(SAMPLED)
        out = pull @ self.prior.covariance[self.at].astype(SAMPLED)
        np.subtract(deviations, out, out=out)
        out *= SAMPLED(np.sqrt(self.scale))
        out += self.mean.astype(SAMPLED)
        return out
