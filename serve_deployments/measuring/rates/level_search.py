"""The state of a search over levels: the levels held so far, and the time left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from serve_deployments.endpoint import TURNS, Endpoint, Payload
from serve_deployments.load.clock import Clock
from serve_deployments.measuring.level import LONGER, longest_batch_s
from serve_deployments.measuring.plan import LoadPlan, Patience
from serve_deployments.metrics.level_result import LevelResult
from serve_deployments.metrics.measurement import Measurement

GROWTH = 1.05
"""Factor that a level must exceed to count as growth: one that brings at most 5 % more has not raised the rate."""

LATE = 2  # levels beyond the time budget if no rate has passed yet: else the trial would have no result
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
    def request_s(self) -> float:
        """Seconds that a request takes in the first level that had an answer; 0 if not known.

        They are those of its longest batch if the server reports it, as the answers also waited for other batches.
        """
        first = next((level for level in self.levels if level.completed), None)
        if first is None:
            return 0.0
        return longest_batch_s([first]) or (first.value("mean_ms") or 0.0) / 1e3

    @property
    def total_s(self) -> float:
        """Longest time for all levels: `total_max_s`, or more where requests take so long that it says too little."""
        return self.plan.stretched(self.request_s).seconds

    @property
    def left_s(self) -> float:
        """Seconds that are left for levels; 0 if the time is up."""
        return max(0.0, self.total_s - self.spent_s)

    @property
    def has_time(self) -> bool:
        """Whether there is time left for at least the shortest possible level."""
        return self.spent_s + self._least_s <= self.total_s

    @property
    def _least_s(self) -> float:
        """Least length of a level in seconds: `level_min_s`, or four mean latencies of the last level if longer."""
        mean_ms = self.levels[-1].value("mean_ms") if self.levels else None
        return max(self.plan.level_min_s, _TURNS * (mean_ms or 0.0) / 1e3)

    def level_plan(self, share: float = 1.0, *, patience: float = 1.0) -> LoadPlan:
        """The plan for the next level.

        Args:
            share: share of the remaining time that it may take.
            patience: the share that it may take if it has seen too little by then; or as long as a few requests take.
        """
        longest_s = max(self._least_s, share * self.left_s)
        longest_s = max(self.plan.level_min_s, min(self.plan.level_max_s, longest_s))
        return replace(
            self.plan,
            level_max_s=longest_s,
            patience=self._patience(patience),
            drain_s=max(self.plan.drain_s, LONGER * max(longest_batch_s(self.levels), self.request_s)),
            # Other arrivals than in the levels before: with the same ones, each level would repeat the same luck.
            seed=self.plan.seed + _APART * len(self.levels),
        )

    def _patience(self, share: float) -> Patience:
        if not self.request_s and not self.levels:
            return self.plan.stretched(0.0)
        few_s = min(_TURNS * self.request_s, self.plan.stretch * self.plan.total_max_s)
        return Patience(max(share * self.left_s, few_s))

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
        if slow := self._slow():
            reason = f"{reason}; {slow}"
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

    def silent(self) -> str:
        """The reason of a search without any answer."""
        if any(level.errors for level in self.levels):
            return "no request was answered"
        within = f"no request was answered within {max(level.duration_s for level in self.levels):.0f} s"
        return f"{within}; if one takes longer, raise load.total_max_s"

    def _slow(self) -> str:
        """What a server whose requests take long means for the search, as a clause; empty for any other server."""
        wanted_s = TURNS * self.request_s
        if wanted_s <= self.plan.total_max_s:
            return ""
        took = f"a request takes {self.request_s:.3g} s"
        if wanted_s <= self.plan.stretch * self.plan.total_max_s:
            return f"{took}, so the load test took {self.spent_s:.0f} s, not {self.plan.total_max_s:.3g} s"
        had = f"a load test of {self.total_s:.0f} s is short for it"
        return f"{took}, and {had}: set load.total_max_s to {wanted_s:.0f} or more for a surer rate"


def longest_s(plan: LoadPlan) -> float:
    """The longest time that a search can take: all its time, and a few levels that were begun late."""
    # Its first request has ended within `total_max_s`, or there are no more levels.
    late_s = min(_TURNS, plan.stretch) * plan.total_max_s
    return plan.stretch * plan.total_max_s + LATE * max(plan.level_max_s, late_s)


def beaten(to_beat_rps: float) -> str:
    """The reason of a search that ended early, as a readable clause."""
    return f"it cannot reach {to_beat_rps:.3g} requests/s, the rate to beat"
