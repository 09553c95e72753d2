"""From events to a `Load`: which statistics of a level are reported, and whose fault they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from serve_deployments.load.events import Events
from serve_deployments.measurement import Latencies, Load
from serve_deployments.measuring.stopping_rules import LevelStatus

_BUSY_SHARE = 0.85  # of a core: beyond it an event loop queues work of its own (the GIL allows it one core)
_LAG_FLOOR_MS = 2.0  # asyncio's timers count milliseconds: less than two of them is no lag
_LAG_SHARE = 0.2  # of the p99 latency: our choice; a rate found under a limit on it is off by a few per cent at most


@dataclass(frozen=True)
class Level:
    """What was asked of a level, when, and whether it had to be stopped."""

    mode: Literal["closed", "open"]
    concurrency: int | None
    requested_rps: float | None
    started_at: float
    ended_at: float
    stopped: bool = False


def summarise(
    level: Level,
    events: Events,
    finding: LevelStatus | None,
    late_s: Sequence[float],
    *,
    until_s: float,
    ended: int | None = None,
) -> Load:
    """The level's statistics.

    Args:
        level: what was asked.
        events: what happened.
        finding: what the rule made of it; None: too little happened, and all of it is measured.
        late_s: latencies of the requests that outlived the level. They count only if its question is open or
            it was overloaded: those that were answered in time are the quicker ones, and alone would flatter the
            server.
        until_s: when the level was stopped.
        ended: how many requests had ended by then; all unless given.
    """
    ended = len(events.ended_s) if ended is None else ended
    rest = events.span(0, ended, until_s=None if ended else until_s)
    finding = finding or LevelStatus(rest, None)
    span, overloaded = finding.span, level.stopped or finding.overloaded
    sure = finding.sure and not overloaded
    answered_s = span.latency_s[span.answered].tolist()
    completed, errors = len(answered_s), int((~span.answered).sum())
    latencies = Latencies.of(answered_s if sure else [*answered_s, *late_s])
    lag_ms = 1e3 * _p99(span.lag_s.tolist())
    low, high = finding.estimate.bounds() if finding.estimate else (None, None)
    return Load(
        mode=level.mode,
        concurrency=level.concurrency,
        requested_rps=level.requested_rps,
        achieved_rps=completed / span.duration_s,
        duration_s=span.duration_s,
        completed=completed,
        errors=errors,
        error_rate=errors / (completed + errors) if completed + errors else 1.0,
        latencies=latencies,
        steady=sure,
        overloaded=overloaded,
        client_cpu_share=span.cpu_share,
        client_lag_ms=lag_ms,
        client_limited=client_limited(span.cpu_share, lag_ms, latencies.p99_ms),
        warmup_s=span.start_s - events.start_s,
        started_at=level.started_at,
        ended_at=level.ended_at,
        rate_low_rps=None if low is None else max(0.0, low),
        rate_high_rps=high,
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
