"""The latency-rate curve of a configuration: the levels of load that were held, read from the history."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, Self

from hdrh.histogram import HdrHistogram

from serve_deployments.measurement import LATENCIES, interval_of, percentile_ms
from serve_deployments.usage import Usage

Mode = Literal["closed", "open"]

_PERCENTILE = re.compile(r"p([1-9]\d?|[1-9]\d+[1-9])_ms")


@dataclass(frozen=True)
class Reported:
    """What a trial said of the level that stands for it.

    Args:
        rps: the trial's rate; an estimate from all levels where it ended early or was not precise in time.
        interval_rps: its 95 % interval; None where none was recorded.
        ended_early: the trial stopped once it could no longer win.
    """

    rps: float
    interval_rps: tuple[float, float] | None = None
    ended_early: bool = False


@dataclass(frozen=True)
class Level:
    """One level of load, as a trial's history has it (`serve_deployments.measurement.Load`).

    Args:
        mode: "closed": clients that wait for their answer; "open": arrivals.
        asked: clients, or arrivals per second.
        rps: the rate that it stands for (`Load.rate_rps`); of older records, answers per second.
        metrics: those recorded by name; a latency is missing where no request was answered.
        histogram: of the latencies, for percentiles that were not recorded; None if it is not there.
        overloaded: the queue only grew, or more were in flight than allowed.
        fell_behind: of an overloaded level, that answers stayed behind arrivals once it was warm: no limit can
            be kept there. Else it was stopped for what was in flight, which depends on the run's limits.
        steady: its question was answered (`Load.steady`).
        client_limited: the load side was the bottleneck.
        interval_rps: 95 % interval of the rate; None where none was recorded.
        usage: what the replica did; None where that was not recorded.
        completed: requests answered.
        reported: what the trial said, of the level that stands for it.
    """

    mode: Mode
    asked: float
    rps: float
    metrics: Mapping[str, float]
    histogram: str | None = field(default=None, repr=False)
    overloaded: bool = False
    fell_behind: bool = False
    steady: bool = True
    client_limited: bool = False
    interval_rps: tuple[float, float] | None = None
    usage: Usage | None = None
    completed: int = 0
    reported: Reported | None = None

    @classmethod
    def of(cls, load: Mapping[str, Any], *, reported: Reported | None = None) -> Self:
        """A level from its record; what older or newer records have besides is left alone."""
        recorded = {name: load.get(name) for name in (*LATENCIES, "error_rate")}
        rps = load.get("rate_rps", load["achieved_rps"])
        return cls(
            mode=load["mode"],
            asked=float(load["concurrency"] if load["mode"] == "closed" else load["requested_rps"]),
            rps=rps,
            metrics={"rps": rps, **{k: v for k, v in recorded.items() if v is not None}},
            histogram=load.get("histogram"),
            overloaded=load["overloaded"],
            fell_behind=load["overloaded"] and _fell_behind(load),
            steady=load["steady"],
            client_limited=load["client_limited"],
            interval_rps=interval_of(load.get("rate_low_rps"), load.get("rate_high_rps")),
            usage=None if load.get("usage") is None else Usage.from_dict(load["usage"]),
            completed=load.get("completed", 0),
            reported=reported,
        )

    def value(self, name: str) -> float | None:
        """A metric, or any percentile of the latencies (`p97_ms`); None where it has no value."""
        if name in self.metrics:
            return self.metrics[name]
        percent = percent_of(name)
        return None if percent is None or not self.histogram else _percentile_ms(self.histogram, percent)

    def above(self, limit_ms: float) -> int | None:
        """How many answers took longer than a limit; None where the histogram is not there."""
        return None if not self.histogram else _count_above(self.histogram, limit_ms)

    def with_metrics(self, names: Iterable[str]) -> dict[str, float]:
        """The metrics recorded, and those of `names` that the histogram tells."""
        told = {name: self.value(name) for name in names}
        return {**self.metrics, **{name: value for name, value in told.items() if value is not None}}


def _fell_behind(load: Mapping[str, Any]) -> bool:
    """By more than 5 % of what was due, beyond one standard deviation of Poisson arrivals.

    As `stopping_rules.UntilKnown` has it.

    Nothing is said of a level that was stopped before it was warm: there the queue has yet to fill.
    """
    if load["mode"] == "closed" or not load["warmup_s"] > 0:
        return False
    due = load["requested_rps"] * load["duration_s"]
    return bool(due - load["completed"] - load["errors"] > 0.05 * due + math.sqrt(due))


def percent_of(name: str) -> float | None:
    """The percentage in the name of a percentile: 97 of `p97_ms`, 99.9 of `p999_ms`; None if it is no such name.

    From the third digit on they are decimals. `p100_ms` is none: the largest latency is `max_ms`.
    """
    if (match := _PERCENTILE.fullmatch(name)) is None:
        return None
    digits = match[1]
    return float(f"{digits[:2]}.{digits[2:] or 0}")


@lru_cache(maxsize=4096)
def _percentile_ms(histogram: str, percent: float) -> float | None:
    """The smallest recorded latency that at least `percent` % do not exceed; None of an empty histogram."""
    recorded = HdrHistogram.decode(histogram)
    return percentile_ms(recorded, percent) if recorded.get_total_count() else None


def in_order(levels: Iterable[Level], mode: Mode) -> tuple[Level, ...]:
    """The levels of one mode by what was asked of them, one for each.

    Of those that asked the same, as when a configuration was measured again, the one of the middle rate stands
    for all. The highest of several would be the luckiest.
    """
    alike: dict[float, list[Level]] = {}
    for level in levels:
        if level.mode == mode:
            alike.setdefault(level.asked, []).append(level)
    return tuple(middle(alike[asked]) for asked in sorted(alike))


def middle(levels: Sequence[Level]) -> Level:
    """The one of the middle rate; of two the lower."""
    return sorted(levels, key=lambda level: level.rps)[(len(levels) - 1) // 2]


@lru_cache(maxsize=4096)
def _count_above(histogram: str, limit_ms: float) -> int:
    recorded = HdrHistogram.decode(histogram)
    return sum(
        step.count_at_value_iterated_to for step in recorded.get_recorded_iterator()
        if step.value_iterated_to > 1e3 * limit_ms
    )  # fmt: skip
