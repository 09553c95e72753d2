"""From windows to a `Load`: which statistics of a level are reported, and whose fault they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from serve_deployments.measurement import Latencies, Load
from serve_deployments.windows import Window, Windows

_BUSY_SHARE = 0.85  # of a core: beyond it an event loop queues work of its own (the GIL allows it one core)
_LAG_FLOOR_MS = 2.0  # asyncio's timers count milliseconds: less than two of them is no lag
_LAG_SHARE = 0.2  # of the p99 latency: twice the tolerance that steady windows are allowed


@dataclass(frozen=True)
class Level:
    """What was asked of a level, when, and whether it had to be stopped."""

    mode: Literal["closed", "open"]
    concurrency: int | None
    requested_rps: float | None
    started_at: float
    ended_at: float
    stopped: bool = False


def summarise(level: Level, windows: Windows, rest: Window, late_s: Sequence[float]) -> Load:
    """The level's statistics.

    Args:
        level: what was asked.
        windows: what was counted.
        rest: the window that was open at the stop; measured only if no other is.
        late_s: latencies of the requests that outlived the level. They count only if it was not steady:
            those that were answered in time are the quicker ones, and alone would flatter the server.
    """
    span = windows.measured or [rest]
    steady = not level.stopped and windows.plan.steady_windows > 1 and windows.enough
    latencies_s = [latency_s for window in span for latency_s in window.latencies_s]
    completed, errors = len(latencies_s), sum(window.errors for window in span)
    latencies = Latencies.of(latencies_s if windows.enough and not level.stopped else [*latencies_s, *late_s])
    duration_s = span[-1].end_s - span[0].start_s
    overloaded = level.stopped or windows.queue_grows
    cpu_share = sum(w.cpu_share * (w.end_s - w.start_s) for w in span) / duration_s
    lag_ms = 1e3 * _p99([lag_s for window in span for lag_s in window.lags_s])
    return Load(
        mode=level.mode,
        concurrency=level.concurrency,
        requested_rps=level.requested_rps,
        achieved_rps=completed / duration_s,
        duration_s=duration_s,
        completed=completed,
        errors=errors,
        error_rate=errors / (completed + errors) if completed + errors else 1.0,
        latencies=latencies,
        steady=steady,
        overloaded=overloaded,
        client_cpu_share=cpu_share,
        client_lag_ms=lag_ms,
        client_limited=client_limited(cpu_share, lag_ms, latencies.p99_ms),
        warmup_s=span[0].start_s - windows.start_s,
        started_at=level.started_at,
        ended_at=level.ended_at,
    )


def client_limited(cpu_share: float, lag_ms: float, p99_ms: float | None) -> bool:
    """Whether the numbers say more about the measuring process than about the server.

    Either it used more than 0.85 of a core: an event loop runs on one core, and close to that every answer
    waits for its turn. Or it was late: by more than a fifth of the p99 latency, which then is largely its
    own, and by more than timers are anyway. It may be late without using the core itself, where others do.
    An overloaded server needs no exception: its queue makes the latency long, against which a lag is small.
    """
    late = p99_ms is not None and lag_ms > max(_LAG_FLOOR_MS, _LAG_SHARE * p99_ms)
    return cpu_share > _BUSY_SHARE or late


def _p99(values: Sequence[float]) -> float:
    """Nearest rank; 0 of nothing."""
    return sorted(values)[math.ceil(0.99 * len(values)) - 1] if values else 0.0
