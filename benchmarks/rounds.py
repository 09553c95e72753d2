"""Measurements by several tools in rounds: their order, ratios within a round, and the spread over rounds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy.stats import chi2
from scipy.stats import t as student_t


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


def middle(numbers: Sequence[float], form: str = ".3g") -> str:
    """Median and range, `–` where there is nothing."""
    if not numbers:
        return "–"
    shown = f"{statistics.median(numbers):{form}}"
    return shown if len(numbers) == 1 else f"{shown} ({min(numbers):{form}} to {max(numbers):{form}})"


def variation(numbers: Sequence[float]) -> float:
    """Coefficient of variation: standard deviation (n - 1) ÷ mean.

    Raises:
        ValueError: fewer than two numbers.
    """
    if len(numbers) < 2:
        raise ValueError(f"a spread needs two numbers or more, got {len(numbers)}")
    return statistics.stdev(numbers) / statistics.fmean(numbers)


def mean_ratio(found: Sequence[float]) -> tuple[float, float, float]:
    """Geometric mean of ratios from several rounds, and its 95 % interval: Student's t on their logarithms.

    Without bounds where there are fewer than two rounds.

    Raises:
        ValueError: no ratio, or one that has no logarithm.
    """
    if not found or min(found) <= 0:
        raise ValueError(f"a mean of ratios needs one or more, all above 0, got {list(found)}")
    logs = [math.log(ratio) for ratio in found]
    mean = statistics.fmean(logs)
    if len(logs) < 2:
        return math.exp(mean), 0.0, math.inf
    half = float(student_t.ppf(0.975, len(logs) - 1)) * statistics.stdev(logs) / math.sqrt(len(logs))
    return math.exp(mean), math.exp(mean - half), math.exp(mean + half)


def variation_within(found: float, runs: int) -> tuple[float, float]:
    """95 % interval of a coefficient of variation found in so many runs.

    That of a standard deviation of normal figures, s √((n - 1) / χ²), whose mean is known far better than their spread.

    Raises:
        ValueError: fewer than two runs.
    """
    if runs < 2:
        raise ValueError(f"a spread needs two runs or more, got {runs}")
    upper, lower = (float(chi2.ppf(p, runs - 1)) for p in (0.975, 0.025))
    return found * math.sqrt((runs - 1) / upper), found * math.sqrt((runs - 1) / lower)
