"""How long and how carefully to measure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class LoadPlan:
    """The rules of one load test.

    Three consecutive windows within 10 % are the default of Triton's `perf_analyzer`
    (`--stability-percentage`), whose windows are longer.

    A percentile p says more than the largest value only from 1 / (1 - p) requests on: of fewer than 100
    requests the p99 is the maximum. The defaults measure at least 3 x 20 = 60 of them, so a limit on p99 then
    means that none of 60 breaks it, which is stricter. `window_requests=34` gives a true p99, `334` a p999;
    a slow configuration pays for it in time.

    Args:
        window_s: a window lasts at least so long …
        window_requests: … and at least until so many requests were answered, so that it also works below
            one request per second.
        steady_windows: how many consecutive windows must agree, and are measured. With 1 nothing is compared,
            and the level is not called steady.
        tolerance: how far windows that agree may lie apart, relative to the smallest.
        level_max_s: a level that is not steady by then is measured over its last windows.
        total_max_s: for all levels of a search together.
        drain_s: how long a level's last requests are waited for before they are given up. Should be more than
            one batch takes: what is still being served delays the next level.
        start_concurrency: clients in the first closed level of `peak_rate`.
        max_concurrency: clients in the last.
        max_in_flight: an open level with more unanswered requests is stopped as overloaded.
        rate_precision: `highest_rate` is done when a rate that fails is at most so far above one that passes.
        arrivals: of open levels.
        seed: of Poisson arrivals.

    Raises:
        ValueError: a value that makes no sense.
    """

    window_s: float = 1.0
    window_requests: int = 20
    steady_windows: int = 3
    tolerance: float = 0.10
    level_max_s: float = 20.0
    total_max_s: float = 60.0
    drain_s: float = 2.0
    start_concurrency: int = 1
    max_concurrency: int = 256
    max_in_flight: int = 1024
    rate_precision: float = 0.10
    arrivals: Literal["poisson", "constant"] = "poisson"
    seed: int = 0

    def longer(self, factor: float) -> LoadPlan:
        """The same plan with windows and bounds `factor` times as long: more requests, less chance."""
        return replace(
            self,
            window_s=self.window_s * factor,
            window_requests=math.ceil(self.window_requests * factor),
            level_max_s=self.level_max_s * factor,
            total_max_s=self.total_max_s * factor,
        )

    def __post_init__(self) -> None:
        for name in ("window_s", "tolerance", "level_max_s", "total_max_s", "rate_precision"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        for name in ("window_requests", "steady_windows", "start_concurrency", "max_in_flight"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")
        if self.drain_s < 0:
            raise ValueError(f"drain_s must not be negative, got {self.drain_s}")
        if self.max_concurrency < self.start_concurrency:
            raise ValueError(
                f"max_concurrency={self.max_concurrency} is below start_concurrency={self.start_concurrency}"
            )
        if self.level_max_s < self.window_s * self.steady_windows:
            raise ValueError(
                f"{self.steady_windows} windows of {self.window_s} s do not fit into "
                f"level_max_s={self.level_max_s}; raise it or shorten the windows"
            )
        if self.arrivals not in ("poisson", "constant"):
            raise ValueError(f"arrivals are 'poisson' or 'constant', got {self.arrivals!r}")
