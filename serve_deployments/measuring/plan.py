"""The plan of a load test: how long and how precisely to measure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from serve_deployments.endpoint import TURNS
from serve_deployments.load.arrivals import POISSON, Arrivals
from serve_deployments.metrics.request_limits import RequestLimits


@dataclass(frozen=True)
class Patience:
    """How long to wait for a server that may be slow.

    Args:
        seconds: the time that there is in any case.
        requests: number of requests, each as long as the first one, that there is time for.
        most_s: longest time for these.
    """

    seconds: float = 0.0
    requests: int = 0
    most_s: float = 0.0

    def until_s(self, first_s: float) -> float:
        """Seconds to wait if the first request took `first_s`; 0: it has not ended yet."""
        return max(self.seconds, min(self.most_s, self.requests * first_s))


@dataclass(frozen=True)
class LoadPlan:
    """The bounds of one load test, within which each level is held until its question is answered.

    These defaults are also the defaults of service.yaml.

    Args:
        precision: a closed level ends once the half-width of its rate's 95 % interval is at most this fraction of it.
        level_min_s: least measured length of a level, without its warm-up: events that occur about once a second should
            have occurred. The default is our choice.
        level_max_s: longest length of a level; if its question is still open then, its estimate is used and the level
            is marked as not steady. A level that has seen too little for an estimate goes on within `patience`.
        total_max_s: longest time for all levels of a search together.
        stretch: largest factor on `total_max_s`, for a server whose requests take so long that a search would see
            fewer than `TURNS` of them one after another.
        patience: longest length of a level that has seen too little for an estimate, if that is longer than
            `level_max_s`. A search sets it for each of its levels.
        drain_s: how long a level's last requests are waited for before they are given up. A search waits longer where
            batches take longer: requests that are still being served delay the next level.
        start_concurrency: number of clients in the first closed level of `peak_rate`.
        max_concurrency: largest number of clients in a closed level.
        max_in_flight: an open level with more unanswered requests than this is stopped as overloaded.
        rate_precision: relative precision of `highest_rate`: it ends once the standard deviation of its posterior is at
            most this, and a level near the rate has passed.
        arrivals: arrival pattern of open levels.
        seed: random seed of the arrivals.
        request_limits: the limits that each request has to keep by itself, for goodput; None: there are none.

    Raises:
        ValueError: a value is out of its range, or two values contradict each other.
    """

    precision: float = 0.05
    level_min_s: float = 1.0
    level_max_s: float = 10.0
    total_max_s: float = 60.0
    stretch: float = 1.0
    patience: Patience = Patience()
    drain_s: float = 2.0
    start_concurrency: int = 1
    max_concurrency: int = 512
    max_in_flight: int = 1024
    rate_precision: float = 0.05
    arrivals: Arrivals = POISSON
    seed: int = 0
    request_limits: RequestLimits | None = None

    def __post_init__(self) -> None:
        for name in ("precision", "level_min_s", "level_max_s", "total_max_s", "rate_precision"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        for name in ("start_concurrency", "max_in_flight"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")
        if self.drain_s < 0:
            raise ValueError(f"drain_s must not be negative, got {self.drain_s}")
        if self.stretch < 1:
            raise ValueError(f"stretch must be 1 or more, got {self.stretch}")
        if self.max_concurrency < self.start_concurrency:
            raise ValueError(
                f"max_concurrency={self.max_concurrency} is below start_concurrency={self.start_concurrency}"
            )
        if self.level_max_s < self.level_min_s:
            raise ValueError(
                f"a level of at least level_min_s={self.level_min_s} s does not fit into "
                f"level_max_s={self.level_max_s}; raise it or lower level_min_s"
            )

    def stretched(self, request_s: float) -> Patience:
        """How long a search may take whose requests take this long; 0: not known, its first answer will tell."""
        longest_s = self.stretch * self.total_max_s
        if not request_s:
            return Patience(self.total_max_s, TURNS, longest_s)
        return Patience(max(self.total_max_s, min(longest_s, TURNS * request_s)))

    def filling(self, batch: int) -> Self:
        """The plan for a peak rate with batches of this size: starts with enough clients to fill one."""
        return replace(self, start_concurrency=min(max(self.start_concurrency, batch), self.max_concurrency))
