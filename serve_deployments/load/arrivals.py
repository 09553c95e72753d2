"""Arrival patterns: gaps between requests with a mean of 1, scaled to seconds by a rate.

A pattern is a value: it can be compared, hashed, and sent to another process, which can compute the schedule there.
The same pattern and seed give the same schedule at every rate, only scaled. The seed follows from the level's number:
trials of one study are compared with the same seeds (common random numbers), the levels of one trial differ in theirs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

_MOST_CV = 10.0
"""Largest coefficient of variation. Our choice: the mean of n gaps has the relative standard error cv / sqrt(n), so
beyond it a test of some minutes would not have the requested rate."""


_AT_ONCE = 256
"""Arrivals of a renewal process that are drawn at once; more hardly cost less each."""


class Arrivals(Protocol):
    """A pattern of arrivals."""

    @property
    def cv(self) -> float:
        """Coefficient of variation of the gaps: standard deviation / mean; 0 if they are all equal."""
        ...

    def offsets(self, rate_rps: float, seed: int) -> Iterator[float]:
        """Yields when each request is due, in seconds from the start, without end; the mean gap is 1 / `rate_rps`.

        Raises:
            ValueError: the rate is not a positive number.
        """
        ...


@dataclass(frozen=True)
class Renewal:
    """A renewal process: independent, gamma-distributed gaps.

    A gamma distribution of shape k and mean 1 has the coefficient of variation 1 / sqrt(k). So a `cv` of 0 is a
    constant rate, 1 is Poisson arrivals (k = 1: exponential gaps), below 1 is steadier than Poisson, above 1 is bursty.

    Args:
        cv: coefficient of variation of the gaps.

    Raises:
        ValueError: `cv` is below 0 or above 10.
    """

    cv: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.cv <= _MOST_CV:
            raise ValueError(f"a coefficient of variation must be from 0 to {_MOST_CV:g}, got {self.cv:g}")

    def offsets(self, rate_rps: float, seed: int) -> Iterator[float]:
        """See `Arrivals`; the first request is due at 0 if the rate is constant, else after a gap."""
        _check(rate_rps)
        if self.cv == 0:
            return (number / rate_rps for number in itertools.count())
        return itertools.chain.from_iterable((units / rate_rps).tolist() for units in self._units(seed))

    def _units(self, seed: int) -> Iterator[np.ndarray]:
        """The arrivals at a rate of 1, in arrays: the same as if they were drawn one by one, in a tenth of the time."""
        rng, shape, last = np.random.default_rng(seed), self.cv**-2, 0.0
        while True:
            units = np.add.accumulate(np.append(last, rng.standard_gamma(shape, _AT_ONCE) / shape))[1:]
            last = units[-1]
            yield units


CONSTANT, POISSON = Renewal(0.0), Renewal(1.0)


@dataclass(frozen=True)
class Trace:
    """Recorded arrivals, replayed at the requested mean rate and repeated from the start when they end.

    The last arrival is followed by one mean gap before the trace repeats, so n arrivals over a span of s seconds repeat
    after s n / (n - 1), and the mean rate of a whole round is exactly the requested one. A level that is shorter than a
    round sees only the beginning of the trace, at the rate that it has there.

    Args:
        times_s: times of the arrivals, in seconds from any origin, in ascending order.

    Raises:
        ValueError: fewer than two arrivals, times that are not finite or not in order, or all at one moment.
    """

    times_s: tuple[float, ...] = field(repr=False)  # may be many

    def __post_init__(self) -> None:
        if len(self.times_s) < 2:
            raise ValueError(f"a trace needs at least two arrivals, this one has {len(self.times_s)}")
        if not all(map(math.isfinite, self.times_s)):
            raise ValueError("the times of a trace must be finite numbers of seconds")
        for before, (number, after) in zip(self.times_s, enumerate(self.times_s[1:], start=2), strict=False):
            if after < before:
                raise ValueError(
                    f"arrival {number} at {after:g} s is earlier than the previous one at {before:g} s; "
                    "sort the times in ascending order"
                )
        if not 0 < self.times_s[-1] - self.times_s[0] < math.inf:
            raise ValueError(
                "all arrivals of the trace are at the same time, so it has no rate; give times that differ"
            )

    @property
    def cv(self) -> float:
        """Coefficient of variation of the gaps."""
        gaps = np.diff(self.times_s)
        return float(gaps.std() / gaps.mean())

    def offsets(self, rate_rps: float, seed: int) -> Iterator[float]:
        """See `Arrivals`; the first request is due at 0, and `seed` has no effect."""
        _check(rate_rps)
        start_s, count = self.times_s[0], len(self.times_s)
        mean_gap_s = (self.times_s[-1] - start_s) / (count - 1)
        units = [(time_s - start_s) / mean_gap_s for time_s in self.times_s]
        return ((turn * count + unit) / rate_rps for turn in itertools.count() for unit in units)


def nth(offsets: Iterable[float], index: int, of: int) -> Iterator[float]:
    """The arrivals of one of several senders that share a schedule: number `index`, and every `of`-th after it.

    All senders together keep the schedule exactly. Giving each of them a share of the rate would do so only for
    Poisson arrivals.

    Raises:
        ValueError: `index` is not from 0 to `of` - 1.
    """
    if not 0 <= index < of:
        raise ValueError(f"the index of a sender must be from 0 to {of - 1} if there are {of} senders, got {index}")
    return itertools.islice(offsets, index, None, of)


def _check(rate_rps: float) -> None:
    if not (math.isfinite(rate_rps) and rate_rps > 0):
        raise ValueError(f"a rate must be a positive number of requests per second, got {rate_rps}")
