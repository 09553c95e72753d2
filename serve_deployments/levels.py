"""What a search over levels has seen so far, and how much time it has left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from serve_deployments.clock import Clock
from serve_deployments.endpoint import Endpoint, Payload
from serve_deployments.measurement import Load, Measurement
from serve_deployments.plan import LoadPlan


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

    def has_time(self, rate_rps: float) -> bool:
        """Whether a level at this rate can become steady before the time is up."""
        window_s = max(self.plan.window_s, self.plan.window_requests / max(rate_rps, 1e-9))
        return self.spent_s + self.plan.steady_windows * window_s <= self.plan.total_max_s

    def level_plan(self, plan: LoadPlan | None = None) -> LoadPlan:
        """The plan for the next level, cut to the time left, but not below its shortest windows."""
        plan = plan or self.plan
        longest_s = min(plan.level_max_s, self.plan.total_max_s - self.spent_s)
        return replace(plan, level_max_s=max(plan.window_s * plan.steady_windows, longest_s))

    def add(self, load: Load) -> Load:
        """Remembers a level."""
        self.loads.append(load)
        return load

    def result(self, reported: Load, *, found: bool, reason: str) -> Measurement:
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
        )


def _size(load: Load) -> float:
    """How much was asked for: clients or requests per second."""
    return load.concurrency or load.requested_rps or 0.0
