"""The one table of metrics: name, unit, which way is better, how each comes from the records of requests.

What a spec may name, what a limit can be on and how it is tested, what a level reports and what the history keeps all
follow from this table. A new metric is one call of `add` with how it is read off a record:

    add(RequestTime("ttft", "ttft_", "time to first token", lambda requests: requests.first_s - requests.due_s))

gives `ttft_p50_ms`, `ttft_p99_ms`, `ttft_mean_ms` and the others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from serve_deployments.metrics.request_record import Requests

PERCENTILES: Mapping[str, float] = {
    "p50_ms": 50, "p75_ms": 75, "p90_ms": 90, "p95_ms": 95, "p99_ms": 99, "p999_ms": 99.9,
}  # fmt: skip
"""The percentiles that are reported; others can be read from a level's histogram."""

STATISTICS: tuple[str, ...] = (*PERCENTILES, "mean_ms", "max_ms")
"""What is reported of a time that each request has one of."""

_PERCENTILE = re.compile(r"p([1-9]\d?|[1-9]\d+[1-9])_ms")
_TAIL = 0.05  # a limit that so few may be above, or fewer, is one on the tail


@dataclass(frozen=True)
class RequestTime:
    """A time that each answered request has one of.

    Args:
        name: of it.
        prefix: of the names of its metrics.
        meaning: in words.
        of: requests → `[n]` seconds; NaN where a request has none, as one that failed.
        is_sojourn: it lasts from when a request is due until it ends, so that Little's law (J. D. C. Little, Operations
            Research 9, 1961) holds: requests in flight are rate times mean.
    """

    name: str
    prefix: str
    meaning: str
    of: Callable[[Requests], np.ndarray]
    is_sojourn: bool = False


@dataclass(frozen=True)
class Metric:
    """One number that a level of load reports.

    Args:
        name: of it.
        unit: "requests/s", "ms", or "" for a share.
        better: which way is.
        meaning: in words.
        time: whose statistic it is; None: it counts requests.
        share_above: of a percentile, the share of requests that is above it, 0 for the maximum; None: no percentile.
        field: of one that counts requests, the field of `LevelResult` that has it.
    """

    name: str
    unit: str
    better: Literal["higher", "lower"]
    meaning: str
    time: RequestTime | None = None
    share_above: float | None = None
    field: str | None = None

    @property
    def is_limited_above(self) -> bool:
        """Whether a limit can be the most that it may be."""
        return self.better == "lower"

    @property
    def is_sojourn(self) -> bool:
        """Whether it says how long requests stay, so that a limit on it bounds how many are in flight."""
        return self.time is not None and self.time.is_sojourn

    @property
    def is_tail(self) -> bool:
        """Whether it is of the slowest requests alone."""
        return self.share_above is not None and self.share_above <= _TAIL + 1e-9

    @property
    def statistic(self) -> str:
        """Which statistic of its time it is, such as `p99_ms`."""
        return self.name if self.time is None else self.name.removeprefix(self.time.prefix)


METRICS: dict[str, Metric] = {}
"""All metrics by name, in the order in which they are reported. What a level has no value for is missing there."""

REQUEST_TIMES: dict[str, RequestTime] = {}
"""All times by name."""


def add(time: RequestTime) -> None:
    """Put a time's metrics into the table.

    Raises:
        ValueError: one of the same name, or of the same names of metrics, is there.
    """
    metrics = [_of(time, statistic) for statistic in STATISTICS]
    if taken := sorted({time.name} & REQUEST_TIMES.keys() | {metric.name for metric in metrics} & METRICS.keys()):
        raise ValueError(f"there is {', '.join(taken)} already; give the time another name and prefix")
    REQUEST_TIMES[time.name] = time
    METRICS.update({metric.name: metric for metric in metrics})


def metric_of(name: str) -> Metric | None:
    """A metric of the table, or any percentile of a time (`p97_ms`); None if it is neither."""
    if name in METRICS:
        return METRICS[name]
    for time in REQUEST_TIMES.values():
        statistic = name.removeprefix(time.prefix)
        if name.startswith(time.prefix) and percent_of(statistic) is not None:
            return _of(time, statistic)
    return None


def percent_of(statistic: str) -> float | None:
    """The percentage in the name of a percentile: 97 of `p97_ms`, 99.9 of `p999_ms`; None if it is no such name.

    From the third digit on they are decimals. `p100_ms` is none: the largest is `max_ms`.
    """
    if (match := _PERCENTILE.fullmatch(statistic)) is None:
        return None
    digits = match[1]
    return float(f"{digits[:2]}.{digits[2:] or 0}")


def _of(time: RequestTime, statistic: str) -> Metric:
    percent = 100.0 if statistic == "max_ms" else percent_of(statistic)
    return Metric(
        name=f"{time.prefix}{statistic}",
        unit="ms",
        better="lower",
        meaning=f"{statistic.removesuffix('_ms')} of the {time.meaning}",
        time=time,
        share_above=None if percent is None else 1 - percent / 100,
    )


LATENCY = RequestTime("latency", "", "latency, from when a request was due", lambda one: one.latency_s, is_sojourn=True)

METRICS["rps"] = Metric("rps", "requests/s", "higher", "requests answered per second", field="rate_rps")
add(LATENCY)
METRICS["error_rate"] = Metric("error_rate", "", "lower", "share of requests that failed", field="error_rate")
