"""How long and how carefully to measure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from serve_deployments.load.arrivals import POISSON, Arrivals


@dataclass(frozen=True)
class LoadPlan:
    """The rules of one load test: a level is held until its question is answered, within these bounds.

    The defaults are those of service.yaml, which has them from here.

    Args:
        precision: a closed level ends once the 95 % interval of its rate is within so much of it, either way.
        level_min_s: no level is measured for less, warm-up apart: what happens about once a second should have
            happened. The default is our choice.
        level_max_s: a level whose question is open by then counts by its estimate, and is marked as not steady.
        total_max_s: for all levels of a search together.
        drain_s: how long a level's last requests are waited for before they are given up. Should be more than
            one batch takes: what is still being served delays the next level.
        start_concurrency: clients in the first closed level of `peak_rate`.
        max_concurrency: clients in the last.
        max_in_flight: an open level with more unanswered requests is stopped as overloaded.
        rate_precision: `highest_rate` is done when a rate that fails is at most so far above one that passes.
        arrivals: of open levels.
        seed: of random arrivals.

    Raises:
        ValueError: a value that makes no sense.
    """

    precision: float = 0.05
    level_min_s: float = 1.0
    level_max_s: float = 10.0
    total_max_s: float = 60.0
    drain_s: float = 2.0
    start_concurrency: int = 1
    max_concurrency: int = 512
    max_in_flight: int = 1024
    rate_precision: float = 0.05
    arrivals: Arrivals = POISSON
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("precision", "level_min_s", "level_max_s", "total_max_s", "rate_precision"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        for name in ("start_concurrency", "max_in_flight"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")
        if self.drain_s < 0:
            raise ValueError(f"drain_s must not be negative, got {self.drain_s}")
        if self.max_concurrency < self.start_concurrency:
            raise ValueError(
                f"max_concurrency={self.max_concurrency} is below start_concurrency={self.start_concurrency}"
            )
        if self.level_max_s < self.level_min_s:
            raise ValueError(
                f"a level of at least level_min_s={self.level_min_s} s does not fit into "
                f"level_max_s={self.level_max_s}; raise it or lower level_min_s"
            )

    def filling(self, batch: int) -> Self:
        """The plan of a peak rate of batches so large: fewer clients could never fill one, and say nothing of it."""
        return replace(self, start_concurrency=min(max(self.start_concurrency, batch), self.max_concurrency))
