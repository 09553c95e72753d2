"""The result of one level of load: the same type in the load test, in the database and when read back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from serve_deployments.metrics.distribution import Distribution
from serve_deployments.metrics.metric_table import LATENCY, METRICS, MISSED, Metric, metric_of
from serve_deployments.resources.usage import Usage

Mode = Literal["closed", "open"]


def interval_of(low: float | None, high: float | None) -> tuple[float, float] | None:
    """Both ends of an interval; None unless both are known."""
    return None if low is None or high is None else (low, high)


def interval_around(value: float, low: float | None, high: float | None) -> tuple[float, float] | None:
    """Both ends of an interval; None unless both are known and the value lies between them.

    Earlier versions stored intervals that do not hold their value; nothing is known of how far off such a value is.
    """
    ends = interval_of(low, high)
    return ends if ends is not None and ends[0] <= value <= ends[1] else None


def check_around(rate_rps: float, ends: tuple[float, float] | None) -> None:
    """Refuse an interval that does not hold its rate.

    Raises:
        ValueError: the rate lies outside.
    """
    if ends is not None and not 0 <= ends[0] <= rate_rps <= ends[1]:
        raise ValueError(f"an interval of 0 or more around the rate {rate_rps} is needed, got {ends}")


def others_share(levels: Iterable[LevelResult]) -> float | None:
    """Share of the replica's core time that other processes used in these levels while it was ready to run there.

    From 0 to 1; None if not reported.
    """
    return _share_of_cores(levels, "others_s")


def load_share(levels: Iterable[LevelResult]) -> float | None:
    """The same share for the processes that sent the load: the part that the measuring itself took from the replica."""
    return _share_of_cores(levels, "load_s")


def _share_of_cores(levels: Iterable[LevelResult], name: str) -> float | None:
    told = [level.usage for level in levels if level.usage is not None]
    cores_s = sum(usage.cores_s for usage in told)
    return sum(getattr(usage, name) for usage in told) / cores_s if cores_s else None


TOLERATED_SHARE = 0.05
"""Share of a replica's cores from which on other processes disturb what is measured.

A replica that is bound by its cores loses about the share of them that others take, and a share below the relative
standard deviation of load tests cannot be seen in their rates (benchmarks/measuring/RESULTS.md, Repeatability).
"""


def disturbing_share(levels: Iterable[LevelResult]) -> float:
    """Share of the replica's core time that other processes used in these levels, 0 to 1, less what is left out.

    That is the time of stalls, unless their level was overloaded: a queue that does not return to what it was before a
    stall says nothing of the time after it. 0 where nothing is reported.
    """
    told = [(level, level.usage) for level in levels if level.usage is not None and level.usage.cores_s > 0]
    cores_s = sum(usage.cores_s for _, usage in told)
    left_out_s = sum(
        usage.cores_s * level.stalled_s / usage.seconds
        for level, usage in told
        if level.stalled_s and usage.seconds and not level.overloaded
    )
    return (sum(usage.others_s for _, usage in told) - left_out_s) / cores_s if cores_s else 0.0


def first_error(levels: Iterable[LevelResult]) -> str | None:
    """Error of the first request that failed in these levels, in its sender's words; None if none did."""
    return next((level.first_error for level in levels if level.first_error is not None), None)


@dataclass(frozen=True)
class LevelResult:
    """The result of one level of load, held until its question was answered.

    Rates, counts and times leave out the warm-up. A failed request counts in `error_rate`, but not in a rate or a
    time. In an open level a latency counts from the scheduled time, so that waiting caused by a stalled server or
    sender is included (no coordinated omission).

    An open level that is not steady also counts the latencies of the requests that were in flight when it was stopped;
    those that were given up count with their age, as a lower bound.

    Args:
        mode: "closed": a fixed number of clients, each of which waits for its answer; "open": a rate of arrivals.
        concurrency: number of clients of a closed level; None for an open one.
        requested_rps: rate of an open level; None for a closed one.
        achieved_rps: answers per second.
        rate_rps: the rate that is reported for the level (`summary.rate_of`).
        duration_s: length of the measured span.
        completed: number of requests answered in it.
        errors: number of requests that failed in it.
        error_rate: errors / (completed + errors); 1 if no request ended.
        distributions: name of a request's time → its distribution over the answered requests.
        steady: whether the precision was reached. For a closed level: of the 95 % interval of its rate; for an open
            one: it is known with 95 % confidence whether it keeps the limits.
        overloaded: whether it fell behind, or was stopped because more requests were in flight than allowed.
        fell_behind: whether the server fell behind the arrivals: the queue grew by more than 5 % of the arrivals,
            beyond what chance explains (`stopping_rules.UntilKnown`). No limit can be kept then.
        client_cpu_share: CPU seconds of the busiest sending process per second; 1 is a whole core.
        client_lag_ms: 99th percentile of how late the measuring process was: for sends against their schedule
            in an open level, for a regular timer in a closed one.
        client_limited: whether the client was too busy or too late for the numbers to describe the server.
        warmup_s: time from the level's start to the start of the measured span.
        started_at: start in seconds since 1970, warm-up included.
        ended_at: end in seconds since 1970.
        rate_low_rps: lower end of the 95 % interval of `achieved_rps`; None where too little was seen for one, and
            in levels that were stored before there were intervals.
        rate_high_rps: upper end of that interval.
        first_error: error message of the first request that failed; None if none did.
        failed_samples: place of each sample of which no request was answered, with its first error; 20 at most, and
            empty if no sample was answered.
        usage: the replica's resource use in the level, warm-up included; None where it was not reported.
        senders: number of processes that sent the load.
        samples: number of samples that its requests were taken from, in turn; None in levels stored without it.
        counts: name of a share, mean or rate that has no field of its own → its value, where it has one; a rate as
            counted in the measured span.
        stalled: number of the answered requests that are left out of `distributions`, as other work on the replica's
            cores stalled it (`measuring/statistics/stalls.py`).
        unanswered: number of requests that were given up: they had neither an answer nor an error when the level, and
            the wait after it, ended. Of a closed level only where no request of it ended, as its clients go on waiting.
        unanswered_s: seconds that each of these had waited at least; 0 if there are none.
        stalled_s: how long these stalls lasted, warm-up included.
    """

    mode: Mode
    concurrency: int | None
    requested_rps: float | None
    achieved_rps: float
    rate_rps: float
    duration_s: float
    completed: int
    errors: int
    error_rate: float
    distributions: Mapping[str, Distribution]
    steady: bool
    overloaded: bool
    fell_behind: bool
    client_cpu_share: float
    client_lag_ms: float
    client_limited: bool
    warmup_s: float
    started_at: float
    ended_at: float
    rate_low_rps: float | None = None
    rate_high_rps: float | None = None
    first_error: str | None = None
    failed_samples: tuple[tuple[int, str], ...] = ()
    usage: Usage | None = None
    senders: int = 1
    samples: int | None = None
    counts: Mapping[str, float] = field(default_factory=dict)
    stalled: int = 0
    unanswered: int = 0
    unanswered_s: float = 0.0
    stalled_s: float = 0.0

    def __post_init__(self) -> None:
        if (self.concurrency if self.mode == "closed" else self.requested_rps) is None:
            raise ValueError("a closed level has a concurrency, an open one a requested rate")

    @property
    def asked(self) -> float:
        """The requested load: number of clients, or requests per second."""
        return float((self.concurrency if self.mode == "closed" else self.requested_rps) or 0.0)

    @property
    def interval_rps(self) -> tuple[float, float] | None:
        """95 % interval of the achieved rate; None unless both ends are known."""
        return interval_around(self.achieved_rps, self.rate_low_rps, self.rate_high_rps)

    @property
    def latency(self) -> Distribution:
        """The distribution of the latencies."""
        return self.distributions[LATENCY.name]

    @property
    def attainment(self) -> float:
        """Share of requests that kept all of their own limits; NaN where they had none."""
        return 1 - self.counts.get(MISSED, math.nan)

    @property
    def goodput_rps(self) -> float:
        """Requests per second that kept all of their own limits; NaN where they had none.

        Of the requests that came, failures too: `rate_rps` is of those that were answered.
        """
        came_rps = self.rate_rps / (1 - self.error_rate) if self.error_rate < 1 else 0.0
        return came_rps * self.attainment

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics that a trial reports for the level: those of `METRICS` that have a value."""
        return self.with_metrics(())

    def value(self, name: str) -> float | None:
        """The value of a metric, or of any percentile of a time (`p97_ms`); None where it has no value.

        An amount per second is told at `rate_rps`, as the rate itself is: how many requests chance sends in the few
        seconds of an open level says nothing of the server.
        """
        metric = metric_of(name)
        if metric is not None and metric.field is not None:
            count = float(getattr(self, metric.field))
            return None if math.isnan(count) else count
        if metric is not None and metric.counted is not None:
            amount = self.counts.get(name)
            at_rate = metric.is_per_second and self.achieved_rps > 0
            return amount * self.rate_rps / self.achieved_rps if amount is not None and at_rate else amount
        of = self._distribution(metric)
        return None if of is None or metric is None else of.value(metric.statistic)

    def above(self, name: str, limit_ms: float) -> int | None:
        """Number of requests above a limit on a time's metric; None where that is not known."""
        of = self._distribution(metric_of(name))
        return None if of is None else of.count_above(limit_ms)

    def _distribution(self, metric: Metric | None) -> Distribution | None:
        if metric is None or metric.time is None:
            return None
        return self.distributions.get(metric.time.name)

    def with_metrics(self, names: Iterable[str]) -> dict[str, float]:
        """All of `METRICS` that have a value, and those of `names` that can be read from the histograms."""
        told = {name: self.value(name) for name in (*METRICS, *names)}
        return {name: value for name, value in told.items() if value is not None}
