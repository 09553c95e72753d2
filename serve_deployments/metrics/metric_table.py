"""The table of all metrics: name, unit, which direction is better, how each is computed from the records of requests.

Which metrics a spec may name, which may have a limit and how it is tested, what a level reports, what the history
stores and what is shown all follow from this table. A new metric is one call with a function of the records:

    add(RequestTime("stream", "stream_", "first part to last", lambda requests: requests.last_s - requests.first_s))
    add_rate("parts_per_s", "parts/s", "parts answered per second", lambda requests: requests.parts)
    add_share("slow_share", "share of requests that took more than 1 s", lambda requests: requests.latency_s > 1)

The first gives `stream_p50_ms`, `stream_p99_ms`, `stream_mean_ms` and the others.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from serve_deployments.metrics.request_record import Requests
from serve_deployments.metrics.streamed import tokens_in, tokens_out, tokens_per_s_of_a_user, tpot_s, ttft_s

PERCENTILES: Mapping[str, float] = {
    "p50_ms": 50, "p75_ms": 75, "p90_ms": 90, "p95_ms": 95, "p99_ms": 99, "p999_ms": 99.9,
}  # fmt: skip
"""The reported percentiles; others can be read from a level's histogram."""

STATISTICS: tuple[str, ...] = (*PERCENTILES, "mean_ms", "max_ms")
"""Statistics that are reported for each kind of time that requests have."""

_PERCENTILE = re.compile(r"p([1-9]\d?|[1-9]\d+[1-9])_ms")
_LARGEST_TAIL = 0.05  # a limit that at most this share of requests may exceed is a limit on the tail: p95 and above


@dataclass(frozen=True)
class RequestTime:
    """A kind of time that is measured for each answered request, such as its latency.

    Args:
        name: the time's name.
        prefix: prefix of the names of its metrics.
        meaning: description in words.
        of: requests → `[n]` seconds; NaN where a request has none, such as one that failed. Where a request may have
            several, all of them, `[m]`, those of one request side by side.
        each: requests → `[n]` the one that a limit of each request is compared with, where it may have several: the
            longest. None: `of`.
        is_sojourn: whether it lasts from when a request is due until it ends, so that Little's law (J. D. C. Little,
            Operations Research 9, 1961) holds: the mean number of requests in flight is the rate times the mean time.
    """

    name: str
    prefix: str
    meaning: str
    of: Callable[[Requests], np.ndarray]
    is_sojourn: bool = False
    each: Callable[[Requests], np.ndarray] | None = None

    @property
    def has_several(self) -> bool:
        """Whether a request may have several such times."""
        return self.each is not None

    def of_each(self, requests: Requests) -> np.ndarray:
        """`[n]` the time of each request, the longest where it has several; NaN where it has none."""
        return (self.each or self.of)(requests)


@dataclass(frozen=True)
class Metric:
    """One number that a level of load reports.

    Args:
        name: the metric's name.
        unit: "requests/s", "ms", or "" for a share.
        better: which direction is better.
        meaning: description in words.
        time: the time that it is a statistic of; None if it counts requests.
        share_above: for a percentile, the share of requests above it, 0 for the maximum; None if it is no percentile.
        counted: for a share or a rate, requests → `[n]` whether, or how much, each counts; None for others.
        nearness: for a share, requests → `[n]` how near each is to being counted, from where on it is at 1; None: only
            whether it counts is known. Requests that are slow together are told by it before any of them counts.
        field: the field of `LevelResult` that holds it, if it is one of its own; None for others.
        is_mean: whether it is the mean of what counts, over the requests that say.
        of_answers: whether it is of what a configuration answers, and so known before any load.
        range: its lowest and highest value.
    """

    name: str
    unit: str
    better: Literal["higher", "lower"]
    meaning: str
    time: RequestTime | None = None
    share_above: float | None = None
    counted: Callable[[Requests], np.ndarray] | None = None
    nearness: Callable[[Requests], np.ndarray] | None = None
    field: str | None = None
    is_mean: bool = False
    of_answers: bool = False
    range: tuple[float, float] = (0.0, math.inf)

    @property
    def is_share(self) -> bool:
        """Whether it is the share of requests that count, from 0 to 1; what counts otherwise, counts per second."""
        return self.counted is not None and self.unit == "" and not self.is_mean

    @property
    def is_per_second(self) -> bool:
        """Whether it counts something per second, so that it is proportional to the rate while a server keeps up."""
        return self.unit.endswith("/s") and not self.is_mean

    @property
    def is_in_counts(self) -> bool:
        """Whether a level holds it in `LevelResult.counts`, as it counts and has no field of its own."""
        return self.counted is not None and self.field is None

    def count(self, requests: Requests, duration_s: float) -> float:
        """The share of requests that count, the mean, or what counts per second; NaN where no request says.

        Args:
            requests: the requests of a level.
            duration_s: its length.
        """
        assert self.counted is not None, f"{self.name} does not count"
        values = np.asarray(self.counted(requests), dtype=float)
        known = values[~np.isnan(values)]
        if not known.size:
            return math.nan
        return float(known.mean() if self.is_share or self.is_mean else known.sum() / duration_s)

    @property
    def is_limited_above(self) -> bool:
        """Whether it can have an upper limit."""
        return self.better == "lower"

    @property
    def is_limited_below(self) -> bool:
        """Whether a limit on it is a lower bound: it is of answers, and higher is better."""
        return self.of_answers and self.better == "higher"

    @property
    def is_sojourn(self) -> bool:
        """Whether it measures how long requests stay in the system, so that a limit on it bounds those in flight."""
        return self.time is not None and self.time.is_sojourn

    @property
    def is_tail(self) -> bool:
        """Whether it depends on the slowest requests only: at most 5 % of the requests are above it."""
        return self.share_above is not None and self.share_above <= _LARGEST_TAIL + 1e-9

    def is_never_above(self, other: Metric) -> bool:
        """Whether its value is never above another's of the same requests.

        A percentile is never above a higher one of the same time, and no statistic of a time is above its maximum.
        """
        if self.time is None or self.time != other.time or other.share_above is None:
            return False
        return other.share_above == 0 or (self.share_above is not None and self.share_above >= other.share_above)

    @property
    def statistic(self) -> str:
        """Name of the statistic without its time's prefix, such as `p99_ms`."""
        return self.name if self.time is None else self.name.removeprefix(self.time.prefix)


METRICS: dict[str, Metric] = {}
"""All metrics by name, in the order in which they are reported. A level leaves out those that it has no value for."""

REQUEST_TIMES: dict[str, RequestTime] = {}
"""All kinds of request times by name."""


def add(time: RequestTime) -> None:
    """Add a time and its metrics to the tables.

    Raises:
        ValueError: the name of the time or of one of its metrics is taken.
    """
    metrics = [_of(time, statistic) for statistic in STATISTICS]
    if taken := sorted({time.name} & REQUEST_TIMES.keys() | {metric.name for metric in metrics} & METRICS.keys()):
        raise ValueError(f"already in use: {', '.join(taken)}; choose another name and prefix for the time")
    REQUEST_TIMES[time.name] = time
    METRICS.update({metric.name: metric for metric in metrics})


def add_share(
    name: str,
    meaning: str,
    counted: Callable[[Requests], np.ndarray],
    *,
    better: Literal["higher", "lower"] = "lower",
    nearness: Callable[[Requests], np.ndarray] | None = None,
) -> None:
    """Add a share of requests, from 0 to 1.

    Args:
        name: the metric's name.
        meaning: description in words.
        counted: requests → `[n]` whether each counts.
        better: which direction is better; a limit can be on a share of which lower is.
        nearness: see `Metric`.

    Raises:
        ValueError: the name is taken.
    """
    _put(Metric(name, "", better, meaning, counted=counted, nearness=nearness))


def add_rate(name: str, unit: str, meaning: str, counted: Callable[[Requests], np.ndarray]) -> None:
    """Add an amount per second, of which more is better.

    Args:
        name: the metric's name.
        unit: its unit, such as "tokens/s".
        meaning: description in words.
        counted: requests → `[n]` how much each counts; NaN where that is not known.

    Raises:
        ValueError: the name is taken.
    """
    _put(Metric(name, unit, "higher", meaning, counted=counted))


def add_mean(name: str, unit: str, meaning: str, counted: Callable[[Requests], np.ndarray]) -> None:
    """Add the mean of an amount over the requests, of which more is better.

    Args:
        name: the metric's name.
        unit: its unit, such as "tokens".
        meaning: description in words.
        counted: requests → `[n]` the amount of each; NaN where that is not known.

    Raises:
        ValueError: the name is taken.
    """
    _put(Metric(name, unit, "higher", meaning, counted=counted, is_mean=True))


def _put(metric: Metric) -> None:
    if metric.name in METRICS:
        raise ValueError(f"already in use: {metric.name}; choose another name for the metric")
    METRICS[metric.name] = metric


def listed() -> str:
    """The names of all metrics, for a message; of the times of parts only the first and the last statistic each."""
    words: list[str] = []
    for name, metric in METRICS.items():
        if metric.time in (None, LATENCY):
            words.append(name)
        elif metric.statistic == STATISTICS[0]:
            words.append(f"{name} to {name.removesuffix(STATISTICS[0])}{STATISTICS[-1]}")
    return ", ".join(words)


def metric_of(name: str) -> Metric | None:
    """The metric of this name: one of the table, or any percentile of a time (`p97_ms`); None if it is neither."""
    if name in METRICS:
        return METRICS[name]
    for time in REQUEST_TIMES.values():
        statistic = name.removeprefix(time.prefix)
        if name.startswith(time.prefix) and percent_of(statistic) is not None:
            return _of(time, statistic)
    return None


def percent_of(statistic: str) -> float | None:
    """The percentage in the name of a percentile: 97 for `p97_ms`, 99.9 for `p999_ms`; None for other names.

    Digits from the third on are decimals. `p100_ms` is not a valid name: the maximum is `max_ms`.
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

_put(Metric("rps", "requests/s", "higher", "requests answered per second", field="rate_rps"))
add(LATENCY)
_put(
    Metric(
        "error_rate", "", "lower", "share of requests that failed", counted=lambda one: one.failed, field="error_rate"
    )
)

for _metric in (
    Metric("answers_same", "", "higher", "share of samples that are answered as by the default, up to rounding",
           of_answers=True, range=(0.0, 1.0)),
    Metric("answers_cosine", "", "higher", "cosine between an answer's numbers and the default's, worst part, mean",
           of_answers=True, range=(-1.0, 1.0)),
    Metric("answers_cosine_min", "", "higher", "the same, smallest of all samples", of_answers=True, range=(-1.0, 1.0)),
    Metric("answers_relative_error", "", "lower", "error of an answer's numbers over their norm, worst part, mean",
           of_answers=True, range=(0.0, 2.0)),
    Metric("answers_relative_error_max", "", "lower", "the same, largest of all samples",
           of_answers=True, range=(0.0, 2.0)),
    Metric("answers_edit_similarity", "", "higher", "1 - edit distance / length of an answer's text, worst text, mean",
           of_answers=True, range=(0.0, 1.0)),
    Metric("quality", "", "higher", "mean of what the function `quality.score` says of each answer", of_answers=True),
):  # fmt: skip
    _put(_metric)

ANSWER_METRICS: tuple[str, ...] = tuple(name for name, metric in METRICS.items() if metric.of_answers)
"""Names of the metrics of what a configuration answers, which need no load."""

TTFT = RequestTime("ttft", "ttft_", "time to first token, from when a request was due", ttft_s)
TPOT = RequestTime("tpot", "tpot_", "time per output token after the first, of a request", tpot_s)
ITL = RequestTime(
    "itl", "itl_", "inter-token latency: each gap between parts", lambda one: one.gaps_s,
    each=lambda one: one.longest_gap_s,
)  # fmt: skip

MISSED = "missed"
"""The share of requests that miss a limit of their own: what is left of 1 by `attainment`, as load tests limit it."""

_OF_FURTHER_TOKENS = (TPOT.name, ITL.name)
_FAR_OFF = 10.0  # largest ratio to a limit that is told: beyond it nothing is learned about others (our choice)


def _nearness(requests: Requests) -> np.ndarray:
    """`[n]` the largest ratio of a time of each request to its own limit; NaN where there are no such limits.

    A request that failed, or lacks a time, is as far off as any. An answer of one token has no time per token, nor a
    gap, to be too long.
    """
    if requests.limits is None:
        return np.full(len(requests), np.nan)
    single = requests.tokens_out <= 1
    worst = np.where(requests.failed, _FAR_OFF, 0.0)
    for name, limit_s in requests.limits.at_most_s.items():
        ratio = REQUEST_TIMES[name].of_each(requests) / limit_s
        lacks = np.where(single & (name in _OF_FURTHER_TOKENS), 0.0, _FAR_OFF)
        worst = np.maximum(worst, np.where(np.isnan(ratio), lacks, np.minimum(ratio, _FAR_OFF)))
    return worst


def _missed(requests: Requests) -> np.ndarray:
    """`[n]` 1 for each request that failed or took longer than one of its own limits, else 0; NaN without limits."""
    nearness = _nearness(requests)
    return np.where(np.isnan(nearness), np.nan, nearness > 1)


for _time in (TTFT, TPOT, ITL):
    add(_time)
add_rate("input_tokens_per_s", "tokens/s", "tokens of the answered requests per second", tokens_in)
add_rate("output_tokens_per_s", "tokens/s", "tokens answered per second", tokens_out)
add_mean("user_tokens_per_s", "tokens/s", "tokens per second that a user sees after the first", tokens_per_s_of_a_user)
add_mean("input_tokens", "tokens", "tokens of a request", tokens_in)
add_mean("output_tokens", "tokens", "tokens of an answer", tokens_out)
add_share(MISSED, "share of requests that fail, or miss one of their own limits", _missed, nearness=_nearness)
for _metric in (
    Metric("attainment", "", "higher", "share of requests that keep all of their own limits", field="attainment",
           range=(0.0, 1.0)),
    Metric("goodput", "requests/s", "higher", "requests per second that keep all of their own limits",
           field="goodput_rps"),
):  # fmt: skip
    _put(_metric)
