"""What a load test found: `Load`, one level held, and `Measurement`, the answer with the curve behind it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self

from hdrh.histogram import HdrHistogram

from serve_deployments.usage import Usage

PERCENTILES: Mapping[str, float] = {
    "p50_ms": 50, "p75_ms": 75, "p90_ms": 90, "p95_ms": 95, "p99_ms": 99, "p999_ms": 99.9,
}  # fmt: skip
LATENCIES: tuple[str, ...] = (*PERCENTILES, "mean_ms", "max_ms")
METRICS: tuple[str, ...] = ("rps", *LATENCIES, "error_rate")
"""What a trial reports; a latency is missing where no request was answered."""

_LONGEST_US = 3_600_000_000  # the histogram's range is one hour; longer latencies count as that
_DIGITS = 3


def percentile_ms(recorded: HdrHistogram, percent: float) -> float:
    """The smallest latency recorded, in microseconds and at least one, that at least `percent` % do not exceed."""
    count = recorded.get_total_count()
    # The library rounds the rank to the nearest; asked for a rank's own percentile it obeys.
    rank = math.ceil(percent / 100 * count - 1e-9)
    return float(recorded.get_value_at_percentile(100 * rank / count)) / 1e3


def interval_of(low: float | None, high: float | None) -> tuple[float, float] | None:
    """Both ends of an interval; None unless both are known."""
    return None if low is None or high is None else (low, high)


@dataclass(frozen=True)
class Latencies:
    """Percentiles of some latencies in milliseconds, all None where there are none.

    Percentile p is the smallest recorded latency that at least p % do not exceed (nearest rank), read from an
    HDR histogram of microseconds with three significant digits; so it is exact to 0.1 %.

    Args:
        histogram: the histogram, HDR's compressed encoding in base64; empty histograms too can be merged.
    """

    p50_ms: float | None
    p75_ms: float | None
    p90_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    p999_ms: float | None
    mean_ms: float | None
    max_ms: float | None
    histogram: str

    @classmethod
    def of(cls, latencies_s: Sequence[float]) -> Self:
        """The percentiles of latencies in seconds."""
        recorded = HdrHistogram(1, _LONGEST_US, _DIGITS)
        for latency_s in latencies_s:
            recorded.record_value(min(max(1, round(latency_s * 1e6)), _LONGEST_US))
        count = len(latencies_s)
        values: dict[str, float | None] = dict.fromkeys(LATENCIES)
        if count:
            for name, percent in PERCENTILES.items():
                values[name] = percentile_ms(recorded, percent)
            values["mean_ms"] = sum(latencies_s) / count * 1e3
            values["max_ms"] = max(latencies_s) * 1e3
        return cls(**values, histogram=recorded.encode().decode("ascii"))

    @property
    def known(self) -> dict[str, float]:
        """Those of `LATENCIES` that have a value."""
        return {name: value for name in LATENCIES if (value := getattr(self, name)) is not None}


@dataclass(frozen=True)
class Load:
    """One level of load, held until its question was answered.

    Rates, counts and latencies leave the warm-up out. A failed request counts in `error_rate`
    and not in a rate or a latency. In an open level a latency counts from the scheduled time: requests that
    a stalled server or sender kept waiting have waited (no coordinated omission).

    An open level that is not steady also counts the latencies of the requests in flight when it was stopped,
    those given up with their age, as a lower bound.

    Args:
        mode: "closed": a number of clients, each of which waits for its answer; "open": a rate of arrivals.
        concurrency: clients of a closed level.
        requested_rps: rate of an open level.
        achieved_rps: answers per second.
        duration_s: span measured.
        completed: requests answered in it.
        errors: requests failed in it.
        error_rate: errors / (completed + errors); 1 where nothing ended.
        steady: the precision was reached. Of a closed level: the 95 % interval of its rate; of an open one: it
            is known with 95 % confidence whether it keeps the limits.
        overloaded: more were in flight than allowed, or what ended fell behind what was due: the queue
            grew by more than 5 % of the arrivals, beyond what chance explains (`stopping_rules.UntilKnown`).
        client_cpu_share: CPU seconds of the busiest sending process per second; 1 is a whole core.
        client_lag_ms: 99th percentile of how late the measuring process was: sends against their schedule
            in an open level, a regular timer in a closed one.
        client_limited: the client was too busy or too late for the numbers to be the server's.
        latencies: of the requests completed.
        warmup_s: time from the level's start to what is measured of it.
        started_at: seconds since 1970, warm-up included.
        ended_at: seconds since 1970.
        rate_low_rps: lower end of the 95 % interval of `achieved_rps`; None where too little was seen for one, and
            in levels that were stored before there were intervals.
        rate_high_rps: its upper end.
        usage: what the replica did in the level, warm-up included; None where it did not say.
        senders: how many processes the load was sent from.
    """

    mode: Literal["closed", "open"]
    concurrency: int | None
    requested_rps: float | None
    achieved_rps: float
    duration_s: float
    completed: int
    errors: int
    error_rate: float
    latencies: Latencies
    steady: bool
    overloaded: bool
    client_cpu_share: float
    client_lag_ms: float
    client_limited: bool
    warmup_s: float
    started_at: float
    ended_at: float
    rate_low_rps: float | None = None
    rate_high_rps: float | None = None
    usage: Usage | None = None
    senders: int = 1

    @property
    def rate_rps(self) -> float:
        """The rate that the level stands for.

        An open level that kept up could do what was asked for, less what failed: how many requests chance sent in
        its few seconds says nothing of the server. But not more than the interval of what was achieved allows.
        Otherwise what was achieved.
        """
        if self.requested_rps is None or self.overloaded:
            return self.achieved_rps
        return min(self.requested_rps * (1 - self.error_rate), self.rate_high_rps or math.inf)

    @property
    def metrics(self) -> dict[str, float]:
        """The level as a trial reports it: `METRICS`, without latencies where nothing was answered."""
        return {"rps": self.rate_rps, **self.latencies.known, "error_rate": self.error_rate}

    def as_dict(self) -> dict[str, Any]:
        """For JSON; flat: the latencies stand beside the rest."""
        table = asdict(self)
        latencies = table.pop("latencies")
        usage = None if self.usage is None else self.usage.as_dict()
        return {**table, **latencies, "rate_rps": self.rate_rps, "usage": usage}

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Self:
        """The inverse of `as_dict`."""
        rest = dict(table)
        rest.pop("rate_rps", None)  # follows from the others
        latencies = Latencies(**{field.name: rest.pop(field.name) for field in fields(Latencies)})
        usage = rest.pop("usage", None)
        return cls(**rest, latencies=latencies, usage=None if usage is None else Usage.from_dict(usage))


@dataclass(frozen=True)
class Measurement:
    """The answer to a load test's question, with every level it took.

    Args:
        method: "peak_rate" or "highest_rate".
        loads: all levels in the order they were held.
        reported: index in `loads` of the level whose metrics stand for the whole.
        found: that level is the answer. False: no level kept the limits, or none but by luck, and the lowest that
            did not is reported, so that a search sees how far off it was.
        client_limited: a faster client might have found more: `rps` is a lower bound.
        seconds: what it took.
        reason: why the search ended where it did, as a sentence.
        apart: the client had cores that no replica uses.
        ended_early: it stopped once its rate could no longer reach what was to be beaten: its rate is an estimate,
            of less precision.
        estimate: metrics at a highest rate that ended early, or was not known to its precision in time. The levels
            held so far only say where the rate is, and none of them need be near it. None: those of the reported level
            are the answer.
        rate_low_rps: lower end of the 95 % interval of the rate, of a highest rate that of the belief about it; None
            where it is not known.
        rate_high_rps: its upper end.
    """

    method: str
    loads: tuple[Load, ...]
    reported: int
    found: bool
    client_limited: bool
    seconds: float
    reason: str
    apart: bool = True
    ended_early: bool = False
    estimate: Mapping[str, float] | None = None
    rate_low_rps: float | None = None
    rate_high_rps: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.reported < len(self.loads):
            raise ValueError(f"level {self.reported} is reported, there are {len(self.loads)}")

    @property
    def best(self) -> Load | None:
        """The level that is the answer; None if none kept the limits."""
        return self.loads[self.reported] if self.found else None

    @property
    def steady(self) -> bool:
        """Whether the reported level reached its precision."""
        return self.loads[self.reported].steady

    @property
    def interval_rps(self) -> tuple[float, float] | None:
        """95 % interval of the rate; None unless both ends are known."""
        return interval_of(self.rate_low_rps, self.rate_high_rps)

    @property
    def others_share(self) -> float | None:
        """Part of the replica's cores that other processes had, 0 to 1, all levels together; None if nobody told."""
        told = [load.usage for load in self.loads if load.usage is not None]
        cores_s = sum(usage.cores_s for usage in told)
        return sum(usage.others_s for usage in told) / cores_s if cores_s else None

    @property
    def warmup_s(self) -> float:
        """How much of `seconds` was warm-up, all levels together."""
        return sum(load.warmup_s for load in self.loads)

    @property
    def metrics(self) -> dict[str, float]:
        """What the trial reports: `METRICS`."""
        return self.loads[self.reported].metrics if self.estimate is None else dict(self.estimate)

    def as_dict(self) -> dict[str, Any]:
        """For JSON; `metrics` is included for readers and ignored by `from_dict`."""
        table = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**table, "loads": [load.as_dict() for load in self.loads], "metrics": self.metrics}

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Self:
        """The inverse of `as_dict`."""
        rest = {name: value for name, value in table.items() if name != "metrics"}
        return cls(**{**rest, "loads": tuple(Load.from_dict(load) for load in table["loads"])})
