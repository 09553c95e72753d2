"""How a time is distributed over a level's requests: percentiles, mean, maximum, and a histogram of all."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Self

from hdrh.histogram import HdrHistogram

from serve_deployments.metrics.metric_table import PERCENTILES, percent_of

_LONGEST_US = 3_600_000_000  # the histogram's range is one hour; what is longer counts as that
_DIGITS = 3


@dataclass(frozen=True)
class Distribution:
    """Of some times in milliseconds.

    Percentile p is the smallest recorded value that at least p % do not exceed (nearest rank), read from an HDR
    histogram of microseconds with three significant digits; so it is exact to 0.1 %.

    Args:
        values: statistic → milliseconds, those of `metric_table.STATISTICS`; empty where there is nothing.
        histogram: HDR's compressed encoding in base64; empty histograms too can be merged. None where it was not kept.
    """

    values: Mapping[str, float] = field(default_factory=dict)
    histogram: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, times_s: Sequence[float]) -> Self:
        """That of times in seconds."""
        recorded = HdrHistogram(1, _LONGEST_US, _DIGITS)
        for time_s in times_s:
            recorded.record_value(min(max(1, round(time_s * 1e6)), _LONGEST_US))
        values: dict[str, float] = {}
        if count := len(times_s):
            values = {name: _percentile_ms(recorded, percent) for name, percent in PERCENTILES.items()}
            values["mean_ms"] = sum(times_s) / count * 1e3
            values["max_ms"] = max(times_s) * 1e3
        return cls(values, recorded.encode().decode("ascii"))

    def value(self, statistic: str) -> float | None:
        """A statistic or any percentile (`p97_ms`), in ms; None where there is no such value."""
        if statistic in self.values:
            return self.values[statistic]
        percent = percent_of(statistic)
        return None if percent is None or not self.histogram else _percentile_of(self.histogram, percent)

    def count_above(self, limit_ms: float) -> int | None:
        """How many took longer than a limit; None where the histogram is not there."""
        return None if not self.histogram else _count_above(self.histogram, limit_ms)


def _percentile_ms(recorded: HdrHistogram, percent: float) -> float:
    """The smallest value recorded, in microseconds and at least one, that at least `percent` % do not exceed."""
    count = recorded.get_total_count()
    # The library rounds the rank to the nearest; asked for a rank's own percentile it obeys.
    rank = math.ceil(percent / 100 * count - 1e-9)
    return float(recorded.get_value_at_percentile(100 * rank / count)) / 1e3


@lru_cache(maxsize=4096)
def _percentile_of(histogram: str, percent: float) -> float | None:
    recorded = HdrHistogram.decode(histogram)
    return _percentile_ms(recorded, percent) if recorded.get_total_count() else None


@lru_cache(maxsize=4096)
def _count_above(histogram: str, limit_ms: float) -> int:
    recorded = HdrHistogram.decode(histogram)
    return sum(
        step.count_at_value_iterated_to for step in recorded.get_recorded_iterator()
        if step.value_iterated_to > 1e3 * limit_ms
    )  # fmt: skip
