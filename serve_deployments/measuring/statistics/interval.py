"""Confidence intervals for the mean of a correlated sequence, by the method of batch means.

A server's answers are not independent: they come in bursts, and a slow second has slow neighbours. So the run is cut
into a few batches, whose means are nearly independent (Law, Simulation Modeling and Analysis, 5th ed., section 9.5.3;
10 to 30 batches suffice: Schmeiser, Operations Research 30, 1982). The remaining correlation between neighbouring
batches widens the interval as in an autoregressive process of order one (Tafazzoli et al., Skart, IIE Transactions
43, 2011).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from scipy.special import stdtrit

BATCHES = 30
"""Number of batches, the upper end of Schmeiser's range: their variance is then known best, so that luck seldom ends a
run early."""

COARSE = 10
"""Smaller number of batches, the lower end of that range: longer batches show correlation over a longer time. The wider
of both intervals counts."""

FEWEST = 6
"""Minimum number of batches for an estimate. Our choice: the quantile of Student's t is then 2.6, and slow servers need
not give more than six bursts; its coverage is in benchmarks/measuring/RESULTS.md."""

SMALLEST = 4
"""Minimum number of values in a batch of `mean`. Our choice."""

_ROUNDING = 1e-4  # relative; our choice, far below any precision asked for
_MOST_CORRELATED = 0.9  # our choice: beyond it the run is too short to say how long the correlation lasts


@dataclass(frozen=True)
class MeanEstimate:
    """An estimate of a mean, with its standard error.

    Args:
        mean: the estimate.
        error: its standard error, with correlation taken into account.
        batches: number of batches that it rests on.
    """

    mean: float
    error: float
    batches: int

    def bounds(self, confidence: float = 0.95) -> tuple[float, float]:
        """The two-sided confidence interval (Student's t with batches - 1 degrees of freedom)."""
        half = _student((1 + confidence) / 2, self.batches - 1) * self.error
        return self.mean - half, self.mean + half

    def within(self, precision: float, confidence: float = 0.95) -> bool:
        """Whether the interval's half-width is at most this fraction of the mean."""
        low, high = self.bounds(confidence)
        return self.mean > 0 and high - low <= 2 * precision * self.mean


def cuts(ended_s: np.ndarray, batches: int, *, ends_at_pause: bool = False) -> np.ndarray:
    """Indices at which to cut a run into pieces without cutting a burst: at most `batches` + 1, ascending.

    A server that forms batches answers in bursts, and a cut inside a burst would move a whole batch from one piece to
    its neighbour. So near each of the evenly spaced times, the cut is made at a pause between answers: at the answer
    before a gap that is at least half as long as the longest nearby, and as the mean. A stretch without such a pause
    has no cut.

    Args:
        ended_s: `[n]` times of the answers, ascending.
        batches: number of pieces wanted.
        ends_at_pause: whether the last answer is known to be followed by a pause.
    """
    if ended_s.size < 2 or ended_s[-1] <= ended_s[0]:
        return np.empty(0, dtype=int)
    targets = np.linspace(ended_s[0], ended_s[-1], batches + 1)
    gaps = np.diff(ended_s)
    gaps = np.append(gaps, gaps.max()) if ends_at_pause else gaps
    edges = [0, *np.searchsorted(ended_s[: gaps.size], (targets[1:] + targets[:-1]) / 2), gaps.size]
    found = []
    for low, high in pairwise(edges):
        pauses = gaps[low:high]
        # Inside a burst gaps are far below the mean, between bursts above it.
        if not pauses.size or pauses.max() < gaps.mean() / 2:
            continue
        at = low + np.flatnonzero(pauses >= pauses.max() / 2)
        middle = low + pauses.size // 2
        found.append(int(at[np.argmin(abs(at - middle))]))
    return np.array(found, dtype=int)


def rate(ended_s: np.ndarray, counted: np.ndarray) -> MeanEstimate | None:
    """Events per second of a run that is cut at pauses; None while it has too few pieces.

    A ratio estimate: counts over durations of the pieces, with the standard error of the regenerative method, which is
    valid for pieces of unequal length: z_i = count_i - rate x duration_i has mean 0 (Law, section 9.5.3).

    Args:
        ended_s: `[n]` times, ascending; the last is followed by a pause.
        counted: `[n]` count of each: 1, or 0 for a failure.
    """
    total = np.concatenate([[0.0], np.cumsum(counted)])
    found = []
    for batches in (BATCHES, COARSE):
        at = cuts(ended_s, batches, ends_at_pause=True)
        counts, durations = np.diff(total[at + 1]), np.diff(ended_s[at])
        if counts.size < FEWEST or not counts.sum():
            continue
        per_second = counts.sum() / durations.sum()
        z = counts - per_second * durations
        found.append(MeanEstimate(float(per_second), float(_error_of_sum(z) / durations.sum()), z.size))
    return _wider(found)


def mean(values: np.ndarray, numbers: tuple[int, ...] = (BATCHES, COARSE)) -> MeanEstimate | None:
    """The mean of a correlated sequence, from batches of equal numbers; None while it is too short.

    Args:
        values: `[n]` the sequence, in order.
        numbers: numbers of batches to try; the widest interval counts.
    """
    found = []
    for batches in {min(most, values.size // SMALLEST) for most in numbers}:
        if batches >= FEWEST:
            size = values.size // batches
            means = values[values.size - size * batches :].reshape(batches, size).mean(axis=1)
            found.append(MeanEstimate(float(values.mean()), _error_of_sum(means) / batches, batches))
    return _wider(found)


def drift(values: np.ndarray) -> tuple[float, float]:
    """The drift of a sequence per step, and its standard error, from the differences between neighbours.

    A queue below capacity returns to its mean, one above it is a random walk with a drift. A straight line fitted to a
    random walk looks sloped by chance (Granger and Newbold, Journal of Econometrics 2, 1974), the mean of its steps
    does not. The steps of a queue that returns cancel each other, so the test errs on the side of no drift.

    Args:
        values: `[n]` the sequence, with n of 3 or more.
    """
    steps = np.diff(values)
    return float(steps.mean()), float(steps.std(ddof=1) / math.sqrt(steps.size))


def warm_from(values: np.ndarray) -> int:
    """Number of first values to leave out as warm-up: the d that minimises the squared standard error of the rest.

    MSER (White, Simulation 69, 1997), with its own safeguard: a minimum in the last half means that the warm-up is not
    over, so at most the first half is left out. A warm-up starts at the first value: if that is within the range of the
    values that would stay, nothing is left out, so that a later stall is not taken for a warm-up.

    Args:
        values: `[n]` means of pieces of equal weight, from the start on.
    """
    if values.size < 4:
        return 0
    error = [np.var(values[d:]) / (values.size - d) for d in range(values.size // 2 + 1)]
    # Values that vary only by rounding have no warm-up.
    d = int(np.argmin(np.maximum(error, (_ROUNDING * values.mean()) ** 2)))
    beyond = _ROUNDING * values.mean()
    return 0 if values[d:].min() - beyond <= values[0] <= values[d:].max() + beyond else d


@lru_cache
def _student(probability: float, freedom: int) -> float:
    return float(stdtrit(freedom, probability))


def _wider(found: list[MeanEstimate]) -> MeanEstimate | None:
    return max(found, key=lambda estimate: estimate.bounds()[1] - estimate.bounds()[0], default=None)


def _error_of_sum(values: np.ndarray) -> float:
    """Standard error of a sum of values whose neighbours are correlated by r: sqrt(n s^2 (1 + r) / (1 - r))."""
    r = correlation(values, _MOST_CORRELATED)
    return math.sqrt(values.size * float(values.var(ddof=1)) * (1 + r) / (1 - r))


def correlation(values: np.ndarray, most: float) -> float:
    """The correlation r between neighbouring values, from 0 to `most`; 0 if all values are equal but for rounding.

    An estimate from n values and their own mean is too low by (1 + 4 r) / n (Marriott and Pope, Biometrika 41, 1954),
    which is corrected.
    """
    off = values - values.mean()
    square = float(off @ off)
    if square <= 1e-12 * float(values @ values):
        return 0.0
    r = float(off[1:] @ off[:-1]) / square
    return min(max(0.0, r + (1 + 4 * r) / values.size), most)
