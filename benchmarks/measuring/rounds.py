"""Measurements by several tools in rounds: what each saw, their order, and ratios within a round."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from serve_deployments.metrics.level_result import LevelResult


@dataclass(frozen=True)
class Seen:
    """What one tool saw of one replica.

    Args:
        rate_rps: answers per second.
        p50_ms: median latency; None where the tool's latencies mean something else.
        p99_ms: likewise.
        failed: requests that were not answered, or by an error.
        client_cpu_share: CPU seconds of the client's process per second; None where nobody knows.
        proxy_cpu_share: of Serve's HTTP proxy; None where it has no part in it.
        limited: the client says of itself that it was the bottleneck.
        kept_bound: the tool's own word on a bound on latency; None where it has none.
        valid: the tool's verdict on its test; likewise.

    Raises:
        ValueError: a rate that is none.
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
    """What one of our levels says."""
    return Seen(
        rate_rps=load.achieved_rps,
        p50_ms=load.value("p50_ms"),
        p99_ms=load.value("p99_ms"),
        failed=load.errors,
        client_cpu_share=load.client_cpu_share,
        limited=load.client_limited,
    )


Round = Mapping[str, Seen]
"""Name of a measurement → what it saw, all within a few seconds of one another."""


def order(names: Sequence[str], number: int) -> list[str]:
    """The names as they come in this round: every other one goes in reverse, so that a drift favours nobody."""
    return list(names if number % 2 == 0 else reversed(names))


def values(rounds: Sequence[Round], name: str, field: str) -> list[float]:
    """One figure of one measurement, a round each; rounds that do not have it are left out."""
    found = (getattr(each[name], field) for each in rounds if name in each)
    return [float(value) for value in found if value is not None]


def ratios(rounds: Sequence[Round], name: str, against: str, field: str = "rate_rps") -> list[float]:
    """One measurement over another, within each round that has both."""
    pairs = [
        (getattr(each[name], field), getattr(each[against], field)) for each in rounds if {name, against} <= set(each)
    ]
    return [float(a / b) for a, b in pairs if a is not None and b]
