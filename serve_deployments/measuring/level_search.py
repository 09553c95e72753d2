"""What a search over levels has seen so far, and how much time it has left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from serve_deployments.endpoint import Endpoint, Payload
from serve_deployments.load.clock import Clock
from serve_deployments.measurement import Load, Measurement
from serve_deployments.measuring.plan import LoadPlan

GROWTH = 1.05
"""A level that brings less than 5 % more has not raised the rate."""

_TURNS = 4  # latencies that a level lasts at least: one to warm up, and a few to see whether they grow (our choice)
_APART = 1_000_003  # between the seeds of levels: trials have neighbouring ones


@dataclass
class LevelSearch:
    """The levels held in answer to one question.

    Args:
        method: name of the question.
        endpoint: what is asked.
        payloads: sent in turn.
        plan: how to measure.
        clock: time.
    """

    method: str
    endpoint: Endpoint
    payloads: Sequence[Payload]
    plan: LoadPlan
    clock: Clock
    loads: list[Load] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.started_s = self.clock.now()

    @property
    def spent_s(self) -> float:
        """Time since the start."""
        return self.clock.now() - self.started_s

    @property
    def has_time(self) -> bool:
        """Whether another level can be held, however short, before the time is up."""
        return self.spent_s + self._least_s <= self.plan.total_max_s

    @property
    def _least_s(self) -> float:
        """What a level takes at least: `level_min_s`, and a few of the latencies that the last one had."""
        mean_ms = self.loads[-1].latencies.mean_ms if self.loads else None
        return max(self.plan.level_min_s, _TURNS * (mean_ms or 0.0) / 1e3)

    def level_plan(self, share: float = 1.0) -> LoadPlan:
        """The plan for the next level, which may take this share of the time left."""
        longest_s = max(self._least_s, share * (self.plan.total_max_s - self.spent_s))
        longest_s = max(self.plan.level_min_s, min(self.plan.level_max_s, longest_s))
        # Other arrivals than those of the levels before: of the same ones, each would show the same luck again.
        return replace(self.plan, level_max_s=longest_s, seed=self.plan.seed + _APART * len(self.loads))

    def add(self, load: Load) -> Load:
        """Remembers a level."""
        self.loads.append(load)
        return load

    def result(
        self,
        reported: Load,
        *,
        found: bool,
        reason: str,
        ended_early: bool = False,
        estimate: Mapping[str, float] | None = None,
        between_rps: tuple[float | None, float | None] = (None, None),
    ) -> Measurement:
        """The answer. A limited client matters from the reported level up: it may hide a higher rate."""
        above = [load for load in self.loads if load.mode == reported.mode and _size(load) >= _size(reported)]
        return Measurement(
            method=self.method,
            loads=tuple(self.loads),
            reported=next(i for i, load in enumerate(self.loads) if load is reported),
            found=found,
            client_limited=any(load.client_limited for load in above),
            seconds=self.spent_s,
            reason=reason,
            ended_early=ended_early,
            estimate=estimate,
            rate_low_rps=between_rps[0],
            rate_high_rps=between_rps[1],
        )


def beaten(to_beat_rps: float) -> str:
    """Why a search ended early, for people."""
    return f"it can no longer reach the {to_beat_rps:.3g} requests/s that were to be beaten"


def _size(load: Load) -> float:
    """How much was asked for: clients or requests per second."""
    return load.concurrency or load.requested_rps or 0.0
