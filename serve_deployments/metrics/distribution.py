"""The distribution of a time over a level's requests: percentiles, mean, maximum and a histogram."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Self

import numpy as np
from hdrh.histogram import HdrHistogram

from serve_deployments.metrics.metric_table import PERCENTILES, percent_of

_LONGEST_US = 3_600_000_000  # the histogram's range is one hour; longer times are recorded as one hour
_SHORTEST_MS = 1e-3  # one microsecond, the unit of the histogram; shorter times are recorded as one
_DIGITS = 3


@dataclass(frozen=True)
class Distribution:
    """The distribution of a set of times, in milliseconds.

    Percentile p is the smallest recorded value that at least p % of the values do not exceed (nearest rank), read from
    an HDR histogram of microseconds with three significant digits; so it is exact to 0.1 %.

    Args:
        values: statistic → milliseconds, for each of `metric_table.STATISTICS`; empty if there are no times.
        histogram: HDR's compressed encoding in base64, also of an empty histogram, which can be merged like any other.
            None where it was not kept.
    """

    values: Mapping[str, float] = field(default_factory=dict)
    histogram: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, times_s: Sequence[float]) -> Self:
        """The distribution of these times in seconds."""
        recorded = HdrHistogram(1, _LONGEST_US, _DIGITS)
        if len(times_s):
            whole_us = np.clip(np.rint(np.asarray(times_s, dtype=float) * 1e6), 1, _LONGEST_US)
            # Many gaps between tokens are of the same microsecond.
            for value_us, count in zip(*np.unique(whole_us, return_counts=True), strict=True):
                recorded.record_value(int(value_us), int(count))
        values: dict[str, float] = {}
        if count := len(times_s):
            values = {name: _percentile_ms(recorded, percent) for name, percent in PERCENTILES.items()}
            longest_ms = max(times_s) * 1e3
            values = {name: _at_most(value, longest_ms) for name, value in values.items()}
            values |= {"mean_ms": sum(times_s) / count * 1e3, "max_ms": longest_ms}
        return cls(values, recorded.encode().decode("ascii"))

    def value(self, statistic: str) -> float | None:
        """A statistic or any percentile (`p97_ms`), in ms; None if it is not available."""
        if statistic in self.values:
            return self.values[statistic]
        percent = percent_of(statistic)
        found = None if percent is None or not self.histogram else _percentile_of(self.histogram, percent)
        return None if found is None else _at_most(found, self.values.get("max_ms", math.inf))

    def count_above(self, limit_ms: float) -> int | None:
        """Number of times above a limit; None if the histogram was not kept."""
        if not self.histogram:
            return None
        return 0 if self.values.get("max_ms", math.inf) <= limit_ms else _count_above(self.histogram, limit_ms)


def _at_most(percentile_ms: float, longest_ms: float) -> float:
    """A percentile of a histogram, which tells a bucket by its upper end: that may lie above all that is in it."""
    return min(percentile_ms, max(longest_ms, _SHORTEST_MS))


def _percentile_ms(recorded: HdrHistogram, percent: float) -> float:
    """The smallest recorded value that at least `percent` % of the values do not exceed, in ms.

    Args:
        recorded: a histogram of microseconds with at least one value.
        percent: the percentile.
    """
    count = recorded.get_total_count()
    rank = math.ceil(percent / 100 * count - 1e-9)
    return float(_end_us(recorded, int(np.searchsorted(np.cumsum(_counts(recorded)), rank)))) / 1e3


@lru_cache(maxsize=4096)
def _percentile_of(histogram: str, percent: float) -> float | None:
    recorded = HdrHistogram.decode(histogram)
    return _percentile_ms(recorded, percent) if recorded.get_total_count() else None


@lru_cache(maxsize=4096)
def _count_above(histogram: str, limit_ms: float) -> int:
    recorded = HdrHistogram.decode(histogram)
    first = bisect_right(range(recorded.counts_len), 1e3 * limit_ms, key=lambda bucket: _end_us(recorded, bucket))
    return int(_counts(recorded)[first:].sum())


def _counts(recorded: HdrHistogram) -> np.ndarray:
    """`[buckets]` number of values in each bucket; the library's own loops over its 20,000 buckets take 20 ms."""
    return np.frombuffer(recorded.counts, dtype=np.uint64)


def _end_us(recorded: HdrHistogram, bucket: int) -> int:
    """The largest value that is in a bucket."""
    return int(recorded.get_highest_equivalent_value(recorded.get_value_from_index(bucket)))
