"""A belief about one quantity over all configurations: jointly Gaussian, with a scale that is itself uncertain.

Notation: n configurations, k measurements, S samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular

SCALE_WEIGHT = 5.0
"""How many measurements the prior's own scale is worth (degrees of freedom of a Student-t process, Shah, Wilson,
Ghahramani 2014, Eq. 6). Our choice."""


@dataclass(frozen=True)
class Gaussian:
    """What a quantity may be at each configuration, before anything was measured.

    Args:
        mean: `[n]` expectation.
        covariance: `[n, n]`.
        noise: variance of one measurement.
    """

    mean: np.ndarray
    covariance: np.ndarray
    noise: float

    @cached_property
    def root(self) -> np.ndarray:
        """`[n, n]` lower L with L Lᵀ = covariance."""
        n = len(self.mean)
        jitter = 1e-8 * float(np.trace(self.covariance)) / n
        return cholesky(self.covariance + jitter * np.eye(n), lower=True, check_finite=False)

    def given(self, at: np.ndarray, y: np.ndarray) -> Posterior:
        """What remains possible after `[k]` measurements y at positions `at`."""
        k = len(at)
        gram = self.covariance[np.ix_(at, at)] + (self.noise + 1e-9) * np.eye(k)
        factor = cholesky(gram, lower=True, check_finite=False) if k else np.zeros((0, 0))
        error = y - self.mean[at]
        white = solve_triangular(factor, error, lower=True, check_finite=False) if k else error
        weighted = cho_solve((factor, True), error, check_finite=False) if k else error
        mean = self.mean + self.covariance[:, at] @ weighted
        # Student-t: measurements farther off (or nearer) than expected widen (or narrow) all that is left.
        scale = (SCALE_WEIGHT + float(white @ white)) / (SCALE_WEIGHT + k)
        log_density = _student_log_density(white, factor)
        return Posterior(self, at, factor, mean, scale, log_density)


def _student_log_density(white: np.ndarray, factor: np.ndarray) -> float:
    """Log density of measurements under the multivariate Student-t with SCALE_WEIGHT degrees of freedom."""
    from scipy.special import gammaln

    k, nu = len(white), SCALE_WEIGHT
    if k == 0:
        return 0.0
    return float(
        gammaln((nu + k) / 2) - gammaln(nu / 2) - 0.5 * k * np.log(nu * np.pi)
        - np.log(np.diag(factor)).sum() - 0.5 * (nu + k) * np.log1p(white @ white / nu)
    )  # fmt: skip


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
        """`[n]` marginal variance."""
        cross = self.prior.covariance[self.at]
        half = solve_triangular(self.factor, cross, lower=True, check_finite=False) if len(self.at) else cross
        return self.scale * np.maximum(np.diag(self.prior.covariance) - (half**2).sum(0), 1e-12)

    def samples(self, base: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """`[S, n]` joint samples, by correcting samples of the prior (Matheron's rule; Wilson et al. 2020, Eq. 9).

        Args:
            base: `[S, n]` samples of the prior with mean 0.
            noise: `[S, k]` standard normal.
        """
        if len(self.at) == 0:
            return self.mean + base
        seen = base[:, self.at] + np.sqrt(self.prior.noise) * noise
        pulled = cho_solve((self.factor, True), seen.T, check_finite=False)
        return self.mean + np.sqrt(self.scale) * (base - (self.prior.covariance[:, self.at] @ pulled).T)
