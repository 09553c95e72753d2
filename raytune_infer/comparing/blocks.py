"""Statistical model of configurations that are measured side by side in rounds; it removes the drift of the machine.

A machine that is slower now than a minute ago is slower for every configuration, so a round is a block of a
randomised complete block design, and the logarithms of the figures follow its additive model

    y[i, r] = mu[i] + beta[r] + e[i, r],    e ~ N(0, sigma^2),    sum of beta = 0

with one sigma for all configurations, as few rounds cannot estimate one for each. It is fitted by least squares over
the cells that are present, so missing ones need no second method (Montgomery, Design and Analysis of Experiments,
8th ed., sections 4.1 and 4.1.4). Differences of logarithms are ratios; means are geometric.

With two rounds there are so few degrees of freedom that the quantile of Student's t hides a difference of 50 %. A prior
for sigma from other load tests can be added as d0 more degrees of freedom (Smyth, Linear Models and Empirical Bayes
Methods, 2004, section 3: the moderated t-statistic).

A ratio is of figures of the same rounds, so their beta cancels out. A mean is of these rounds, and others would have
another beta: its variance is that of one measurement on another occasion, sigma^2 + sigma_beta^2, over b. The mean
squares between rounds, which expects sigma^2 + k sigma_beta^2, and within them give it, with degrees of freedom by
Satterthwaite (Biometrics Bulletin 2, 1946; Montgomery, section 13.7.1), to which the prior is added as to sigma.

Figures that no load moves, such as prices, have no beta.

| symbol | meaning |
| --- | --- |
| k, b | number of configurations, number of rounds |
| i, r | index of a configuration, index of a round |
| N | number of cells that are present |
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
"""Confidence level of every interval: the convention."""

_ROUNDING = 1e-9
"""Smallest half-width of an interval of a logarithm, so that equal exact figures (prices) stay equal when rounded."""


@dataclass(frozen=True)
class NoisePrior:
    """What is known of figures before they are measured: a prior for sigma, and whether rounds move them.

    Args:
        sigma: relative standard deviation of one measurement.
        freedom: d0, the degrees of freedom that the prior counts as.
        drifts: whether the speed of the machine moves all figures of a round together.

    Raises:
        ValueError: `sigma` or `freedom` is negative.
    """

    sigma: float = 0.0
    freedom: float = 0.0
    drifts: bool = True

    def __post_init__(self) -> None:
        if not (self.sigma >= 0 and self.freedom >= 0):
            raise ValueError(f"0 or more is needed, got sigma={self.sigma}, freedom={self.freedom}")


@dataclass(frozen=True)
class Estimate:
    """An estimate of a positive quantity with its interval: from 0 to infinity where the data do not bound it.

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
        """Whether the interval is finite."""
        return math.isfinite(self.high)

    @property
    def exact(self) -> bool:
        """Whether the interval is no wider than rounding makes it."""
        return math.isclose(self.low, self.high, rel_tol=4 * _ROUNDING)

    def contains(self, value: float) -> bool:
        """Whether the interval contains this value."""
        return self.low <= value <= self.high

    def within(self, part: float) -> bool:
        """Whether the interval lies within a factor of `1 + part` around 1: 0.05 means from 1/1.05 to 1.05."""
        return 1 / (1 + part) <= self.low and self.high <= 1 + part


@dataclass(frozen=True, eq=False)
class Blocks:
    """The fitted model.

    Args:
        mu: `[k]` logarithm of each configuration's mean over all rounds.
        inverse: `[k, k]` covariance of mu divided by sigma^2.
        estimable: `[k, k + b - 1]` the combination of all parameters that the fit estimates in place of each mu; equal
            to the row of the identity where mu is estimable.
        sigma: residual standard deviation of one logarithm; NaN without degrees of freedom.
        freedom: degrees of freedom of sigma, those of the prior included.
        spread: standard deviation of one logarithm from round to round, drift included; NaN as above.
        spread_freedom: degrees of freedom of `spread`, those of the prior included.
    """

    mu: np.ndarray
    inverse: np.ndarray
    estimable: np.ndarray
    sigma: float
    freedom: float
    spread: float
    spread_freedom: float

    def mean(self, i: int) -> Estimate:
        """Geometric mean of configuration i over the rounds; rounds that differ make its interval wide."""
        return self._estimate(np.eye(len(self.mu))[i], 1, self.spread, self.spread_freedom)

    def ratio(self, i: int, j: int, *, comparisons: int) -> Estimate:
        """Ratio of configuration i to configuration j.

        Args:
            i: the numerator.
            j: the denominator.
            comparisons: number of ratios that are considered together; all their intervals hold jointly with
                `CONFIDENCE` (Bonferroni: unlike Dunnett's method it needs no equal correlations, which missing cells
                break).
        """
        unit = np.eye(len(self.mu))
        return self._estimate(unit[i] - unit[j], comparisons, self.sigma, self.freedom)

    def _estimate(self, contrast: np.ndarray, comparisons: int, sigma: float, freedom: float) -> Estimate:
        value = math.exp(contrast @ self.mu)
        known = np.allclose(contrast @ self.estimable, np.pad(contrast, (0, self.estimable.shape[1] - len(self.mu))))
        if freedom < 1 or not known:
            return Estimate(value, 0.0, math.inf)
        from scipy.special import stdtrit  # its import takes longer than showing a run's trials

        quantile = stdtrit(freedom, 1 - (1 - CONFIDENCE) / (2 * comparisons))
        half = max(quantile * sigma * math.sqrt(max(contrast @ self.inverse @ contrast, 0.0)), _ROUNDING)
        return Estimate(value, value * math.exp(-half), value * math.exp(half))


def fit(figures: np.ndarray, known: NoisePrior | None = None) -> Blocks:
    """Fit the model by least squares over the cells that are present.

    Args:
        figures: `[k, b]` positive figures; NaN for a missing cell.
        known: what is known of the noise and the drift; None for no prior.

    Raises:
        ValueError: a figure is not positive, or a configuration has none.
    """
    there = ~np.isnan(figures)
    if not there.any(axis=1).all() or not (figures[there] > 0).all():
        raise ValueError(f"each configuration needs a positive figure, got {figures.tolist()}")
    k, b = figures.shape
    i, r = np.nonzero(there)
    known = known or NoisePrior()
    # A single configuration cannot separate drift from noise, so drift counts as noise.
    effects = np.vstack([np.eye(b - 1), -np.ones(b - 1)]) if k > 1 and known.drifts else np.zeros((b, 0))
    design = np.hstack([np.eye(k)[i], effects[r]])
    y = np.log(figures[there])
    solved = np.linalg.pinv(design)
    theta = solved @ y
    rank = int(np.linalg.matrix_rank(design))
    within = _Squares(float(((y - design @ theta) ** 2).sum()), len(y) - rank)
    means = np.array([y[i == one].mean() for one in range(k)])
    between = _Squares(float(((y - means[i]) ** 2).sum()) - within.sum, rank - k)
    noise = within.with_prior(known)
    spread = _one_measurement(within, between, cells=len(y) / b).with_prior(known) if between.freedom else noise
    return Blocks(
        mu=theta[:k], inverse=(solved @ solved.T)[:k, :k], estimable=(solved @ design)[:k],
        sigma=noise.deviation, freedom=noise.freedom, spread=spread.deviation, spread_freedom=spread.freedom,
    )  # fmt: skip


@dataclass(frozen=True)
class _Squares:
    """A sum of squares with its degrees of freedom."""

    sum: float
    freedom: float

    @property
    def mean(self) -> float:
        """The mean square; 0 without degrees of freedom."""
        return self.sum / self.freedom if self.freedom else 0.0

    @property
    def deviation(self) -> float:
        """The root of the mean square; NaN without degrees of freedom."""
        return math.sqrt(self.mean) if self.freedom else math.nan

    def with_prior(self, known: NoisePrior) -> _Squares:
        return _Squares(self.sum + known.freedom * known.sigma**2, self.freedom + known.freedom)


def _one_measurement(within: _Squares, between: _Squares, cells: float) -> _Squares:
    """The variance of one measurement in another round, as a mean square with Satterthwaite's degrees of freedom.

    Args:
        within: squares of the residuals.
        between: squares between rounds.
        cells: mean number of configurations of a round.
    """
    parts = ((max(between.mean, 0.0) / cells, between.freedom), ((1 - 1 / cells) * within.mean, within.freedom))
    variance = sum(part for part, _ in parts)
    uncertainty = sum(part**2 / freedom for part, freedom in parts if freedom)
    freedom = variance**2 / uncertainty if variance > _ROUNDING**2 else between.freedom
    return _Squares(variance * freedom, freedom)
