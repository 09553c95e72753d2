"""Measurements by several tools in rounds: their results, their order, and ratios within a round."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from serve_deployments.metrics.level_result import LevelResult


@dataclass(frozen=True)
class Seen:
    """The result of one tool's measurement of one replica.

    Args:
        rate_rps: answers per second.
        p50_ms: median latency; None where the tool's latencies mean something else.
        p99_ms: 99th percentile of latency; likewise.
        failed: requests without an answer, or answered by an error.
        client_cpu_share: CPU seconds of the client's process per second; None where they are not known.
        proxy_cpu_share: CPU seconds of Serve's HTTP proxy per second; None where it is not used.
        limited: whether the client reports that it was the bottleneck.
        kept_bound: whether the tool says that its bound on latency was kept; None where it has no bound.
        valid: the tool's verdict on its test; None where it gives none.

    Raises:
        ValueError: the rate is negative or not finite.
    """

    rate_rps: float
    p50_ms: float | None = None
    p99_ms: float | None = None
    failed: int = 0
    client_cpu_share: float | None = None
    proxy_cpu_share: float | None = None
    limited: bool = False
    kept_bound: bool | None = None
    valid: bool | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.rate_rps) and self.rate_rps >= 0):
            raise ValueError(f"a rate is a number of requests per second, 0 or more, got {self.rate_rps}")


def seen_of(load: LevelResult) -> Seen:
    """The result of one of our own levels."""
    return Seen(
        rate_rps=load.achieved_rps,
        p50_ms=load.value("p50_ms"),
        p99_ms=load.value("p99_ms"),
        failed=load.errors,
        client_cpu_share=load.client_cpu_share,
        limited=load.client_limited,
    )


Round = Mapping[str, Seen]
"""Name of a measurement → its result; all are made shortly after one another."""


def order(names: Sequence[str], number: int) -> list[str]:
    """The names in the order of this round, reversed in every other one so that a drift favours none."""
    return list(names if number % 2 == 0 else reversed(names))


def values(rounds: Sequence[Round], name: str, field: str) -> list[float]:
    """One figure of one measurement in each round; rounds without it are left out."""
    found = (getattr(each[name], field) for each in rounds if name in each)
    return [float(value) for value in found if value is not None]


def ratios(rounds: Sequence[Round], name: str, against: str, field: str = "rate_rps") -> list[float]:
    """Ratios of one measurement to another within each round that has both."""
    pairs = [
        (getattr(each[name], field), getattr(each[against], field)) for each in rounds if {name, against} <= set(each)
    ]
    return [float(a / b) for a, b in pairs if a is not None and b]
