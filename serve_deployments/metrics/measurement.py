"""The result of a load test, with all its levels of load."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from serve_deployments.metrics.level_result import LevelResult, check_around, interval_of, others_share


@dataclass(frozen=True)
class Measurement:
    """The result of a load test.

    Args:
        method: "peak_rate" or "highest_rate".
        levels: all levels, in the order in which they were held.
        reported: index in `levels` of the level whose metrics are reported for the whole test.
        found: whether that level is the answer. False: no level kept the limits, or only by luck, and the slowest level
            that broke them is reported, so that a search sees how far off it was.
        client_limited: whether a faster client might have found a higher rate: `rps` is then a lower bound.
        seconds: duration of the load test.
        reason: why the search ended where it did, as a sentence.
        apart: whether the client had cores that no replica uses.
        ended_early: whether it stopped because its rate could no longer reach the rate to beat: its rate is then an
            estimate, of less precision.
        estimate: metrics at a highest rate whose search ended early, or which was not known to its precision in time,
            or near which no level was held in time. The levels held so far only say where the rate is. None: the
            metrics of the reported level are the answer.
        rate_low_rps: lower end of the 95 % interval of the rate (for a highest rate, of its posterior, and never above
            the rate that is reported); None where it is not known.
        rate_high_rps: upper end of that interval.
        named: names of metrics to report beside those of `METRICS`, as a limit on `p97_ms` needs.
    """

    method: str
    levels: tuple[LevelResult, ...]
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
    named: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.reported < len(self.levels):
            raise ValueError(f"`reported` must be an index into the {len(self.levels)} levels, got {self.reported}")
        check_around(self.metrics.get("rps", math.nan), self.interval_rps)

    @property
    def best(self) -> LevelResult | None:
        """The level that is the answer; None if none kept the limits."""
        return self.levels[self.reported] if self.found else None

    @property
    def steady(self) -> bool:
        """Whether the reported level reached its precision."""
        return self.levels[self.reported].steady

    @property
    def interval_rps(self) -> tuple[float, float] | None:
        """95 % interval of the rate; None unless both ends are known."""
        return interval_of(self.rate_low_rps, self.rate_high_rps)

    @property
    def others_share(self) -> float | None:
        """Share of the replica's core time that other processes used, 0 to 1, over all levels; None if not reported."""
        return others_share(self.levels)

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics that the trial reports: those of `METRICS`, and those that are named."""
        return self.levels[self.reported].with_metrics(self.named) if self.estimate is None else dict(self.estimate)
