"""The state of a search over levels: the levels held so far, and the time left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from serve_deployments.endpoint import Endpoint, Payload
from serve_deployments.load.clock import Clock
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.metrics.level_result import LevelResult
from serve_deployments.metrics.measurement import Measurement

GROWTH = 1.05
"""Factor that a level must exceed to count as growth: one that brings at most 5 % more has not raised the rate."""

_TURNS = 4  # least length of a level in mean latencies: one to warm up, a few to see whether they grow (our choice)
_APART = 1_000_003  # distance between the seeds of levels; large, as rounds of a comparison have neighbouring seeds


@dataclass
class LevelSearch:
    """The levels of one load test.

    Args:
        method: name of the search method: "peak_rate" or "highest_rate".
        endpoint: the endpoint that answers.
        payloads: payloads of the requests, sent in turn.
        plan: how to measure.
        clock: the clock to use.
        levels: the levels held so far, in order.
    """

    method: str
    endpoint: Endpoint
    payloads: Sequence[Payload]
    plan: LoadPlan
    clock: Clock
    levels: list[LevelResult] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.started_s = self.clock.now()

    @property
    def spent_s(self) -> float:
        """Seconds since the start."""
        return self.clock.now() - self.started_s

    @property
    def has_time(self) -> bool:
        """Whether there is time left for at least the shortest possible level."""
        return self.spent_s + self._least_s <= self.plan.total_max_s

    @property
    def _least_s(self) -> float:
        """Least length of a level in seconds: `level_min_s`, or four mean latencies of the last level if longer."""
        mean_ms = self.levels[-1].value("mean_ms") if self.levels else None
        return max(self.plan.level_min_s, _TURNS * (mean_ms or 0.0) / 1e3)

    def level_plan(self, share: float = 1.0) -> LoadPlan:
        """The plan for the next level, which may take this share of the remaining time."""
        longest_s = max(self._least_s, share * (self.plan.total_max_s - self.spent_s))
        longest_s = max(self.plan.level_min_s, min(self.plan.level_max_s, longest_s))
        # Other arrivals than in the levels before: with the same ones, each level would repeat the same luck.
        return replace(self.plan, level_max_s=longest_s, seed=self.plan.seed + _APART * len(self.levels))

    def add(self, level: LevelResult) -> LevelResult:
        """Stores a level and returns it."""
        self.levels.append(level)
        return level

    def result(
        self,
        reported: LevelResult,
        *,
        found: bool,
        reason: str,
        ended_early: bool = False,
        estimate: Mapping[str, float] | None = None,
        between_rps: tuple[float | None, float | None] = (None, None),
    ) -> Measurement:
        """The result of the search.

        It is client-limited if the reported level or one of a higher load was: that may hide a higher rate.
        """
        above = [level for level in self.levels if level.mode == reported.mode and level.asked >= reported.asked]
        return Measurement(
            method=self.method,
            levels=tuple(self.levels),
            reported=next(i for i, level in enumerate(self.levels) if level is reported),
            found=found,
            client_limited=any(level.client_limited for level in above),
            seconds=self.spent_s,
            reason=reason,
            ended_early=ended_early,
            estimate=estimate,
            rate_low_rps=between_rps[0],
            rate_high_rps=between_rps[1],
        )


def beaten(to_beat_rps: float) -> str:
    """The reason of a search that ended early, as a readable clause."""
    return f"it cannot reach {to_beat_rps:.3g} requests/s, the rate to beat"
