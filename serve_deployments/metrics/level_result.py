"""One level of load and what it showed: the same type from where it is held to the database and back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from serve_deployments.metrics.distribution import Distribution
from serve_deployments.metrics.metric_table import LATENCY, METRICS, Metric, metric_of
from serve_deployments.usage import Usage

Mode = Literal["closed", "open"]


def interval_of(low: float | None, high: float | None) -> tuple[float, float] | None:
    """Both ends of an interval; None unless both are known."""
    return None if low is None or high is None else (low, high)


@dataclass(frozen=True)
class LevelResult:
    """One level of load, held until its question was answered.

    Rates, counts and times leave the warm-up out. A failed request counts in `error_rate` and not in a rate or a
    time. In an open level a latency counts from the scheduled time: requests that a stalled server or sender kept
    waiting have waited (no coordinated omission).

    An open level that is not steady also counts the latencies of the requests in flight when it was stopped,
    those given up with their age, as a lower bound.

    Args:
        mode: "closed": a number of clients, each of which waits for its answer; "open": a rate of arrivals.
        concurrency: clients of a closed level.
        requested_rps: rate of an open level.
        achieved_rps: answers per second.
        rate_rps: the rate that the level stands for (`summary.rate_of`).
        duration_s: span measured.
        completed: requests answered in it.
        errors: requests failed in it.
        error_rate: errors / (completed + errors); 1 where nothing ended.
        distributions: name of a request's time → how it was distributed over the requests answered.
        steady: the precision was reached. Of a closed level: the 95 % interval of its rate; of an open one: it
            is known with 95 % confidence whether it keeps the limits.
        overloaded: it fell behind, or was stopped as more were in flight than allowed.
        fell_behind: what ended fell behind what was due: the queue grew by more than 5 % of the arrivals, beyond what
            chance explains (`stopping_rules.UntilKnown`). No limit can be kept there.
        client_cpu_share: CPU seconds of the busiest sending process per second; 1 is a whole core.
        client_lag_ms: 99th percentile of how late the measuring process was: sends against their schedule
            in an open level, a regular timer in a closed one.
        client_limited: the client was too busy or too late for the numbers to be the server's.
        warmup_s: time from the level's start to what is measured of it.
        started_at: seconds since 1970, warm-up included.
        ended_at: seconds since 1970.
        rate_low_rps: lower end of the 95 % interval of `achieved_rps`; None where too little was seen for one, and
            in levels that were stored before there were intervals.
        rate_high_rps: its upper end.
        first_error: what the first request that failed did so with; None if none did.
        usage: what the replica did in the level, warm-up included; None where it did not say.
        senders: how many processes the load was sent from.
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
    usage: Usage | None = None
    senders: int = 1

    def __post_init__(self) -> None:
        if (self.concurrency if self.mode == "closed" else self.requested_rps) is None:
            raise ValueError("a closed level has a concurrency, an open one a requested rate")

    @property
    def asked(self) -> float:
        """How much was asked of it: clients, or requests per second."""
        return float((self.concurrency if self.mode == "closed" else self.requested_rps) or 0.0)

    @property
    def interval_rps(self) -> tuple[float, float] | None:
        """95 % interval of the rate achieved; None unless both ends are known."""
        return interval_of(self.rate_low_rps, self.rate_high_rps)

    @property
    def latency(self) -> Distribution:
        """How the latencies were distributed."""
        return self.distributions[LATENCY.name]

    @property
    def metrics(self) -> dict[str, float]:
        """The level as a trial reports it: those of `METRICS` that have a value."""
        return self.with_metrics(())

    def value(self, name: str) -> float | None:
        """A metric, or any percentile of a time (`p97_ms`); None where it has no value."""
        metric = metric_of(name)
        if metric is not None and metric.field is not None:
            count = float(getattr(self, metric.field))
            return None if math.isnan(count) else count
        of = self._distribution(metric)
        return None if of is None or metric is None else of.value(metric.statistic)

    def above(self, name: str, limit_ms: float) -> int | None:
        """How many requests were above a limit on a time's metric; None where that is not known."""
        of = self._distribution(metric_of(name))
        return None if of is None else of.count_above(limit_ms)

    def _distribution(self, metric: Metric | None) -> Distribution | None:
        if metric is None or metric.time is None:
            return None
        return self.distributions.get(metric.time.name)

    def with_metrics(self, names: Iterable[str]) -> dict[str, float]:
        """All of `METRICS` that have a value, and those of `names` that the histograms tell."""
        told = {name: self.value(name) for name in (*METRICS, *names)}
        return {name: value for name, value in told.items() if value is not None}
