"""The answer of a load test, with every level of load behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from serve_deployments.metrics.level_result import LevelResult, interval_of


@dataclass(frozen=True)
class Measurement:
    """What a load test found out.

    Args:
        method: "peak_rate" or "highest_rate".
        levels: all of them in the order they were held.
        reported: index in `levels` of the level whose metrics stand for the whole.
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

    def __post_init__(self) -> None:
        if not 0 <= self.reported < len(self.levels):
            raise ValueError(f"level {self.reported} is reported, there are {len(self.levels)}")

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
        """Part of the replica's cores that other processes had, 0 to 1, all levels together; None if nobody told."""
        told = [level.usage for level in self.levels if level.usage is not None]
        cores_s = sum(usage.cores_s for usage in told)
        return sum(usage.others_s for usage in told) / cores_s if cores_s else None

    @property
    def metrics(self) -> dict[str, float]:
        """What the trial reports: `METRICS`."""
        return self.levels[self.reported].metrics if self.estimate is None else dict(self.estimate)
