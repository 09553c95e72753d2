"""Configurations measured side by side in rounds: what is left of their differences once drift is taken out.

A machine that is slower now than a minute ago is slower for everyone, so a round is a block of a randomised
complete block design, and the logarithms of the figures follow its additive model

    y[i, r] = mu[i] + beta[r] + e[i, r],    e ~ N(0, sigma^2),    sum of beta = 0

with one sigma for all configurations, as few rounds say little of each one's own. It is fitted by least squares over
the cells that there are, so missing ones need no second method (Montgomery, Design and Analysis of Experiments,
8th ed., sections 4.1 and 4.1.4). Differences of logarithms are ratios; means are geometric.

Two rounds leave so few degrees of freedom that Student's factor hides a difference of half. What is known of sigma from
other load tests may be counted in as if it were d0 more of them (Smyth, Linear Models and Empirical Bayes Methods,
2004, section 3: the moderated t-statistic).

| symbol | meaning |
| --- | --- |
| k, b | configurations, rounds |
| i, r | one of each |
| N | cells that are there |
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
"""Of every interval: the convention."""

_ROUNDING = 1e-9
"""Half the width of the narrowest interval of a logarithm: a price that is known exactly is equal to itself."""


@dataclass(frozen=True)
class NoisePrior:
    """What is known of sigma beforehand.

    Args:
        sigma: relative standard deviation of one measurement.
        freedom: d0, the degrees of freedom that this knowledge is worth.

    Raises:
        ValueError: one of them is negative.
    """

    sigma: float = 0.0
    freedom: float = 0.0

    def __post_init__(self) -> None:
        if not (self.sigma >= 0 and self.freedom >= 0):
            raise ValueError(f"0 or more is needed, got sigma={self.sigma}, freedom={self.freedom}")


@dataclass(frozen=True)
class Estimate:
    """A positive quantity with its interval; `low` 0 and `high` infinite where the data do not bound it.

    Raises:
        ValueError: the value lies outside its interval.
    """

    value: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.value <= self.high:
            raise ValueError(f"0 <= low <= value <= high is needed, got {self.low}, {self.value}, {self.high}")

    @property
    def bounded(self) -> bool:
        """Whether there is an interval."""
        return math.isfinite(self.high)

    def contains(self, value: float) -> bool:
        """Whether the interval does."""
        return self.low <= value <= self.high

    def within(self, part: float) -> bool:
        """Whether the whole interval is nearer to 1 than `part`, as a factor: 0.05 for 1/1.05 to 1.05."""
        return 1 / (1 + part) <= self.low and self.high <= 1 + part


@dataclass(frozen=True, eq=False)
class Blocks:
    """The fitted model.

    Args:
        mu: `[k]` logarithm of each configuration's mean over all rounds.
        inverse: `[k, k]` their covariance over sigma^2.
        estimable: `[k, k + b - 1]` what the cells can tell of each mu, as a combination of all parameters: its own
            row of the identity where it is known.
        sigma: residual standard deviation of one logarithm; NaN without degrees of freedom.
        freedom: degrees of freedom of sigma, those of prior knowledge included.
    """

    mu: np.ndarray
    inverse: np.ndarray
    estimable: np.ndarray
    sigma: float
    freedom: float

    def mean(self, i: int) -> Estimate:
        """Geometric mean of configuration i over these rounds: how fast the machine was in them is not in doubt."""
        return self._estimate(np.eye(len(self.mu))[i], comparisons=1)

    def ratio(self, i: int, j: int, *, comparisons: int) -> Estimate:
        """Configuration i over configuration j.

        Args:
            i: the numerator.
            j: the denominator.
            comparisons: how many ratios are looked at together; all of their intervals hold with `CONFIDENCE`
                (Bonferroni, which missing cells do not disturb as they would Dunnett's equal correlations).
        """
        unit = np.eye(len(self.mu))
        return self._estimate(unit[i] - unit[j], comparisons)

    def _estimate(self, contrast: np.ndarray, comparisons: int) -> Estimate:
        value = math.exp(contrast @ self.mu)
        known = np.allclose(contrast @ self.estimable, np.pad(contrast, (0, self.estimable.shape[1] - len(self.mu))))
        if self.freedom < 1 or not known:
            return Estimate(value, 0.0, math.inf)
        from scipy.special import stdtrit  # takes longer to import than a run's trials to show

        quantile = stdtrit(self.freedom, 1 - (1 - CONFIDENCE) / (2 * comparisons))
        half = max(quantile * self.sigma * math.sqrt(max(contrast @ self.inverse @ contrast, 0.0)), _ROUNDING)
        return Estimate(value, value * math.exp(-half), value * math.exp(half))


def fit(figures: np.ndarray, known: NoisePrior | None = None) -> Blocks:
    """Least squares over the cells that there are.

    Args:
        figures: `[k, b]` positive figures; NaN where there is none.
        known: of sigma beforehand; nothing when left out.

    Raises:
        ValueError: a figure that is not positive, or a configuration without one.
    """
    there = ~np.isnan(figures)
    if not there.any(axis=1).all() or not (figures[there] > 0).all():
        raise ValueError(f"each configuration needs a positive figure, got {figures.tolist()}")
    k, b = figures.shape
    i, r = np.nonzero(there)
    # Alone, a configuration has nobody to tell drift by: then drift is part of its noise.
    effects = np.vstack([np.eye(b - 1), -np.ones(b - 1)]) if k > 1 else np.zeros((b, 0))
    design = np.hstack([np.eye(k)[i], effects[r]])
    y = np.log(figures[there])
    solved = np.linalg.pinv(design)
    theta = solved @ y
    known = known or NoisePrior()
    freedom = len(y) - int(np.linalg.matrix_rank(design)) + known.freedom
    residual = float(((y - design @ theta) ** 2).sum()) + known.freedom * known.sigma**2
    return Blocks(
        mu=theta[:k], inverse=(solved @ solved.T)[:k, :k], estimable=(solved @ design)[:k], freedom=freedom,
        sigma=math.sqrt(residual / freedom) if freedom else math.nan,
    )  # fmt: skip
