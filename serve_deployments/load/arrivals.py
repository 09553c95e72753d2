"""When requests arrive: a pattern of gaps whose mean is 1, which a rate then stretches into seconds.

A pattern is a value: it can be compared, hashed, sent to another process, and asked for its schedule there. The
same pattern and seed give the same schedule at every rate, only stretched. The seed is that of the level's number:
trials of one study are compared under the same luck (common random numbers), levels of one trial have each their own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

_MOST_CV = 10.0
"""Our choice: the mean of n gaps is known to cv / sqrt(n), so beyond it no test of minutes has the rate asked for."""


class Arrivals(Protocol):
    """A pattern of arrivals."""

    @property
    def cv(self) -> float:
        """Coefficient of variation of the gaps: standard deviation / mean; 0 if they are all equal."""
        ...

    def offsets(self, rate_rps: float, seed: int) -> Iterator[float]:
        """When each request is due, in seconds from the start, without end; the mean gap is 1 / `rate_rps`.

        Raises:
            ValueError: a rate that is not a positive number.
        """
        ...


@dataclass(frozen=True)
class Renewal:
    """Gaps that are independent of one another, and gamma distributed.

    A gamma distribution of shape k and mean 1 has the coefficient of variation 1 / sqrt(k). So `cv` 0 is a constant
    rate, 1 is Poisson arrivals (k = 1: exponential gaps), below 1 is steadier than that, and above 1 comes in bursts.

    Args:
        cv: coefficient of variation of the gaps.

    Raises:
        ValueError: a `cv` below 0 or above 10.
    """

    cv: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.cv <= _MOST_CV:
            raise ValueError(f"a coefficient of variation is from 0 to {_MOST_CV:g}, got {self.cv:g}")

    def offsets(self, rate_rps: float, seed: int) -> Iterator[float]:
        """See `Arrivals`; the first is at 0 if the rate is constant, else after a gap."""
        _check(rate_rps)
        if self.cv == 0:
            return (number / rate_rps for number in itertools.count())
        rng, shape = np.random.default_rng(seed), self.cv**-2
        gaps = (rng.standard_gamma(shape) / shape for _ in itertools.repeat(None))
        return (units / rate_rps for units in itertools.accumulate(gaps))


CONSTANT, POISSON = Renewal(0.0), Renewal(1.0)


@dataclass(frozen=True)
class Trace:
    """Arrivals that were recorded, replayed as fast as a rate asks for, and again from the start when they end.

    Between the last and the first again there is one mean gap, so n arrivals over a span of s seconds repeat after
    s n / (n - 1), and the mean rate of a whole round is exactly the one asked for. A level that is shorter than a
    round sees the beginning of the trace, and the rate that is there.

    Args:
        times_s: of the arrivals, in seconds from any moment, in ascending order.

    Raises:
        ValueError: fewer than two arrivals, out of order, or all at one moment.
    """

    times_s: tuple[float, ...] = field(repr=False)  # many

    def __post_init__(self) -> None:
        if len(self.times_s) < 2:
            raise ValueError(f"a trace needs two arrivals or more, this one has {len(self.times_s)}")
        if not all(map(math.isfinite, self.times_s)):
            raise ValueError("a trace's times are finite numbers of seconds")
        for before, (number, after) in zip(self.times_s, enumerate(self.times_s[1:], start=2), strict=False):
            if after < before:
                raise ValueError(
                    f"arrival {number} is at {after:g} s, before the one above it at {before:g} s; sort them"
                )
        if not 0 < self.times_s[-1] - self.times_s[0] < math.inf:
            raise ValueError("a trace's arrivals are all at one moment, so it has no rate; give times that differ")

    @property
    def cv(self) -> float:
        """Coefficient of variation of the gaps."""
        gaps = np.diff(self.times_s)
        return float(gaps.std() / gaps.mean())

    def offsets(self, rate_rps: float, seed: int) -> Iterator[float]:
        """See `Arrivals`; the first is at 0, and nothing is random."""
        _check(rate_rps)
        start_s, count = self.times_s[0], len(self.times_s)
        mean_gap_s = (self.times_s[-1] - start_s) / (count - 1)
        units = [(time_s - start_s) / mean_gap_s for time_s in self.times_s]
        return ((turn * count + unit) / rate_rps for turn in itertools.count() for unit in units)


def nth(offsets: Iterable[float], index: int, of: int) -> Iterator[float]:
    """The arrivals of one sender of several who share a schedule: number `index`, and every `of`-th after it.

    All senders together keep the schedule exactly. To give each a share of the rate instead would do so for Poisson
    arrivals only.

    Raises:
        ValueError: there is no such sender.
    """
    if not 0 <= index < of:
        raise ValueError(f"of {of} senders there is no number {index}; they are numbered from 0")
    return itertools.islice(offsets, index, None, of)


def _check(rate_rps: float) -> None:
    if not (math.isfinite(rate_rps) and rate_rps > 0):
        raise ValueError(f"a rate must be a positive number of requests per second, got {rate_rps}")
