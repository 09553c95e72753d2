"""Prior and posterior of one quantity over all configurations: jointly Gaussian, with an uncertain scale.

Notation: n configurations, k measurements, r directions, S samples.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.special import gammaln

SCALE_WEIGHT = 5.0
"""ν of a Student-t process (Shah, Wilson, Ghahramani 2014, section 3): the prior's own scale weighs as much as this
many measurements. Our choice."""

SAMPLED = np.float32
"""Number type of samples, which are many and need few digits: it halves memory and time."""

_JITTER = 1e-9


@dataclass(frozen=True)
class Gaussian:
    """Joint Gaussian prior of a quantity at all configurations.

    Args:
        mean: `[n]` prior mean.
        rest: `[n, n]` covariance of what the directions do not explain.
        noise: variance of one measurement's noise.
        floating: whether the level is unknown, so that the mean is shifted to the level of the measurements,
            whatever their unit.
        directions: `[r, n]` ways in which services differ; their outer products are added to the covariance. A service
            goes equally far along the i-th direction in all its quantities.
    """

    mean: np.ndarray
    rest: np.ndarray
    noise: float
    floating: bool = False
    directions: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))

    @cached_property
    def covariance(self) -> np.ndarray:
        """`[n, n]` prior covariance."""
        return self.rest + self.directions.T @ self.directions if len(self.directions) else self.rest

    def deviations(self, samples: int, rng: np.random.Generator, along: np.ndarray) -> np.ndarray:
        """`[S, n]` joint samples of the prior minus its mean, in SAMPLED precision.

        Args:
            samples: S.
            rng: source of the random numbers of what the directions do not explain.
            along: `[S, r]` standard normal coefficients of the directions.
        """
        out = rng.standard_normal((samples, len(self.mean))).astype(SAMPLED) @ self._root.T.astype(SAMPLED)
        if len(self.directions):
            out += along.astype(SAMPLED) @ self.directions.astype(SAMPLED)
        return out

    @cached_property
    def _root(self) -> np.ndarray:
        """`[n, n]` lower Cholesky factor of the rest; several metrics may share a prior."""
        n = len(self.mean)
        jitter = (_JITTER + 1e-8 * float(np.trace(self.covariance)) / n) * np.eye(n)
        return cholesky(self.rest + jitter, lower=True, check_finite=False)

    def given(self, at: np.ndarray, y: np.ndarray) -> Posterior:
        """The posterior after `[k]` measurements y at `[k]` distinct positions `at`."""
        k = len(at)
        gram = self.covariance[np.ix_(at, at)] + (self.noise + _JITTER) * np.eye(k)
        factor = cholesky(gram, lower=True, check_finite=False) if k else gram
        error = y - self.mean[at]
        level = float(error.mean()) if k and self.floating else 0.0
        error = error - level
        white = solve_triangular(factor, error, lower=True, check_finite=False) if k else error
        mean = self.mean + level + _solve(factor, error) @ self.covariance[at]
        # Student-t: measurements farther from the mean than expected widen the whole posterior, nearer ones narrow it.
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
    """Posterior of a quantity at all configurations, after measurements.

    Args:
        prior: the prior.
        at: `[k]` measured positions.
        factor: `[k, k]` lower Cholesky factor of the measurements' covariance, noise included.
        mean: `[n]` posterior mean.
        scale: factor by which variances are multiplied.
        log_density: log density of the measurements under the prior.
    """

    prior: Gaussian
    at: np.ndarray
    factor: np.ndarray
    mean: np.ndarray
    scale: float
    log_density: float

    @cached_property
    def variance(self) -> np.ndarray:
        """`[n]` posterior variance of the quantity itself, without measurement noise."""
        half = self.prior.covariance[self.at]
        if len(self.at):
            half = solve_triangular(self.factor, half, lower=True, check_finite=False)
        return self.scale * np.maximum(np.diag(self.prior.covariance) - (half**2).sum(axis=0), _JITTER)

    def samples(self, deviations: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """`[S, n]` joint samples: corrected samples of the prior (Matheron's rule; Wilson et al. 2020, Eq. 9).

        Args:
            deviations: `[S, n]` samples of the prior minus its mean.
            noise: `[S, k]` standard normal numbers.
        """
        seen = deviations[:, self.at] + np.sqrt(self.prior.noise) * noise
        pull = _solve(self.factor, seen.T).T.astype(SAMPLED)
        out = pull @ self.prior.covariance[self.at].astype(SAMPLED)
        np.subtract(deviations, out, out=out)
        out *= SAMPLED(np.sqrt(self.scale))
        out += self.mean.astype(SAMPLED)
        return out
