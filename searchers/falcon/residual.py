"""What trials say of every configuration: a Gaussian process of what a service differs from what was expected.

    y(x) = mean(x) + level + w(x) g(x) + noise,    g ~ GP(0, k),   level ~ N(0, level_std²)

with K the covariance of the measurements without the level, r = y - mean, and 1 a vector of ones, the level is
estimated as ℓ = 1ᵀK⁻¹r / (1ᵀK⁻¹1 + level_std⁻²), whose variance is 1 / (1ᵀK⁻¹1 + level_std⁻²). A level of which nothing
is known has level_std⁻² = 0, so that no unit makes a difference (universal kriging; Rasmussen, Williams 2006, section
2.7). Nothing is fitted: the kernel's scales are those that services were seen to differ by, and a service that differs
more widens everything, by the scale of a Student-t process (`meta.gaussian`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from searchers.falcon.expectation import Expectation, Expected
from searchers.meta import kernel
from searchers.meta.gaussian import SCALE_WEIGHT

_UNKNOWN_LEVEL = 6.0
"""Standard deviation of an unknown level before it is measured, in e-folds: that of `kernel.generic`."""
_JITTER = 1e-9
_TRUST = 0.9
"""Probability before the first trial that what is expected of a quantity is better than nothing. Our choice, as in
`meta`."""


@dataclass(frozen=True, eq=False)
class Seen:
    """Trials of one quantity.

    Args:
        at: `[k]` distinct positions that were measured.
        y: `[k]` their values.
        pending: `[p]` positions that are being measured, none of them in `at`.
        noise: standard deviation of a measurement.
    """

    at: np.ndarray
    y: np.ndarray
    pending: np.ndarray
    noise: float


def predict(expected: Expected, quantity: str, seen: Seen) -> tuple[np.ndarray, np.ndarray]:
    """`[n]` mean and `[n]` standard deviation of a quantity at every configuration, given the trials.

    What is pending is taken to give what is expected of it: that changes no mean, and says where not to look again
    (Ginsbourger, Le Riche, Carraro 2010, "kriging believer").
    """
    belief = expected.nothing[quantity] if contradicted(expected, quantity, seen) else expected.quantities[quantity]
    mean, scale = belief.mean, 1.0
    variance = belief.width**2 * kernel.total_variance(belief.scales) + min(belief.level_std, _UNKNOWN_LEVEL) ** 2
    if len(seen.at):
        given = _given(expected, belief, seen.at, seen.y, seen.noise)
        mean, variance, scale = *_everywhere(expected, belief, given), given.scale
    if len(seen.pending):
        every = np.concatenate([seen.at, seen.pending]).astype(int)
        believed = np.concatenate([seen.y, mean[seen.pending]])
        _, variance = _everywhere(expected, belief, _given(expected, belief, every, believed, seen.noise))
    return mean, np.sqrt(scale * np.maximum(variance, _JITTER))


def contradicted(expected: Expected, quantity: str, seen: Seen) -> bool:
    """Whether the trials are so improbable under what is expected that nothing should be.

    By Bayes' rule, from the density of what the trials say apart from the level, of which little may be known.
    """
    belief, nothing = expected.quantities[quantity], expected.nothing[quantity]
    if not belief.informed or len(seen.at) < 2:  # the first trial tells the level alone
        return False
    told, untold = (_given(expected, each, seen.at, seen.y, seen.noise).log_density for each in (belief, nothing))
    return np.log(_TRUST) + told < np.log(1 - _TRUST) + untold


@dataclass(frozen=True, eq=False)
class _Given:
    """What the measurements make of an expectation.

    Args:
        at: `[k]` measured positions.
        factor: Cholesky factor of K.
        one: `[k]` K⁻¹1.
        precision: of the level.
        level: ℓ.
        pull: `[k]` K⁻¹(r - ℓ).
        scale: factor on all variances.
        log_density: of the measurements' differences from one another (a Student-t's), up to a constant of k.
    """

    at: np.ndarray
    factor: tuple[np.ndarray, bool]
    one: np.ndarray
    precision: float
    level: float
    pull: np.ndarray
    scale: float
    log_density: float


def _given(expected: Expected, belief: Expectation, at: np.ndarray, y: np.ndarray, noise: float) -> _Given:
    k = len(at)
    gram = _covariance(expected, belief, at, at) + (noise**2 + _JITTER) * np.eye(k)
    factor = cho_factor(gram, lower=True)
    one = cho_solve(factor, np.ones(k))
    precision = float(one.sum()) + (0.0 if np.isinf(belief.level_std) else 1 / max(belief.level_std, _JITTER) ** 2)
    error = y - belief.mean[at]
    level = float(one @ error) / precision
    pull = cho_solve(factor, error - level)
    scale = (SCALE_WEIGHT + float((error - level) @ pull)) / (SCALE_WEIGHT + k)
    apart = error - float(one @ error) / float(one.sum())
    form = float(apart @ cho_solve(factor, apart))
    density = -np.log(np.diag(factor[0])).sum() - 0.5 * np.log(one.sum())
    density -= 0.5 * (SCALE_WEIGHT + k - 1) * np.log1p(form / SCALE_WEIGHT)
    return _Given(at, factor, one, precision, level, pull, scale, float(density))


def _everywhere(expected: Expected, belief: Expectation, given: _Given) -> tuple[np.ndarray, np.ndarray]:
    """`[n]` mean and `[n]` variance, not yet scaled."""
    cross = _covariance(expected, belief, np.arange(len(belief.mean)), given.at)
    mean = belief.mean + given.level + cross @ given.pull
    reduced = np.einsum("nk,kn->n", cross, cho_solve(given.factor, cross.T))
    prior = belief.width**2 * kernel.total_variance(belief.scales)
    return mean, prior - reduced + (1 - cross @ given.one) ** 2 / given.precision


def _covariance(expected: Expected, belief: Expectation, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """`[p, q]` covariance without the level between configurations at `[p]` and `[q]` positions."""
    out = kernel.covariance(expected.axes, expected.ranks[left], expected.ranks[right], belief.scales)
    out += belief.scales.own**2 * (left[:, None] == right)
    return np.asarray(out * belief.width[left][:, None] * belief.width[right])
