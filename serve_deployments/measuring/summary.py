"""From the events of a level to its `LevelResult`: which statistics are reported, and whose fault they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from serve_deployments.load.events import Events
from serve_deployments.measuring.stopping_rules import LevelStatus
from serve_deployments.metrics.distribution import Distribution
from serve_deployments.metrics.level_result import LevelResult, Mode
from serve_deployments.metrics.metric_table import LATENCY, REQUEST_TIMES, RequestTime
from serve_deployments.metrics.request_record import Requests

_BUSY_SHARE = 0.85  # of a core: beyond it an event loop queues work of its own (the GIL allows it one core)
_LAG_FLOOR_MS = 2.0  # asyncio's timers count milliseconds: less than two of them is no lag
_LAG_SHARE = 0.2  # of the p99 latency: our choice; a rate found under a limit on it is off by a few per cent at most


@dataclass(frozen=True)
class LevelRun:
    """How a level was held.

    Args:
        mode: see `LevelResult`.
        concurrency: clients of a closed level.
        requested_rps: rate of an open level.
        started_at: seconds since 1970.
        ended_at: seconds since 1970.
        stopped: by its senders, as more requests were in flight than allowed.
    """

    mode: Mode
    concurrency: int | None
    requested_rps: float | None
    started_at: float
    ended_at: float
    stopped: bool = False


def summarise(
    run: LevelRun,
    events: Events,
    status: LevelStatus | None,
    ages_s: Sequence[float],
    *,
    until_s: float,
    ended: int | None = None,
) -> LevelResult:
    """The level's statistics.

    Args:
        run: how it was held.
        events: what happened.
        status: what its rule made of it; None: too little happened, and all of it is measured.
        ages_s: how long requests had waited that were given up. They and those that ended after the level count only
            if its question is open or it was overloaded: those that were answered in time are the quicker ones, and
            alone would flatter the server.
        until_s: when the level was stopped.
        ended: how many requests had ended by then; all unless given.
    """
    ended = events.count if ended is None else ended
    status = status or LevelStatus(events.span(0, ended, until_s=None if ended else until_s), None)
    span, overloaded = status.span, run.stopped or status.overloaded
    sure = status.sure and not overloaded
    completed, errors = int(span.answered.sum()), int(span.requests.failed.sum())
    error_rate = errors / (completed + errors) if completed + errors else 1.0
    low, high = status.estimate.bounds() if status.estimate else (None, None)
    late = None if sure else events.requests(ended)
    distributions = {name: _distribution(of, span.requests, late, ages_s) for name, of in REQUEST_TIMES.items()}
    lag_ms = 1e3 * _p99(span.lag_s.tolist())
    return LevelResult(
        mode=run.mode,
        concurrency=run.concurrency,
        requested_rps=run.requested_rps,
        achieved_rps=completed / span.duration_s,
        rate_rps=rate_of(None if overloaded else run.requested_rps, completed / span.duration_s, error_rate, high),
        duration_s=span.duration_s,
        completed=completed,
        errors=errors,
        error_rate=error_rate,
        distributions=distributions,
        steady=sure,
        overloaded=overloaded,
        fell_behind=status.overloaded,
        client_cpu_share=span.cpu_share,
        client_lag_ms=lag_ms,
        client_limited=client_limited(span.cpu_share, lag_ms, distributions[LATENCY.name].value("p99_ms")),
        warmup_s=span.start_s - events.start_s,
        started_at=run.started_at,
        ended_at=run.ended_at,
        rate_low_rps=None if low is None else max(0.0, low),
        rate_high_rps=high,
        first_error=events.first_error,
    )


def rate_of(kept_up_rps: float | None, achieved_rps: float, error_rate: float, high_rps: float | None) -> float:
    """The rate that a level stands for.

    An open level that kept up could do what was asked for, less what failed: how many requests chance sent in
    its few seconds says nothing of the server. But not more than the interval of what was achieved allows.
    Otherwise what was achieved.

    Args:
        kept_up_rps: what was asked of an open level that was not overloaded; None of any other.
        achieved_rps: answers per second.
        error_rate: share of requests that failed.
        high_rps: upper end of the 95 % interval of what was achieved; None where it is not known.
    """
    return achieved_rps if kept_up_rps is None else min(kept_up_rps * (1 - error_rate), high_rps or math.inf)


def _distribution(of: RequestTime, requests: Requests, late: Requests | None, ages_s: Sequence[float]) -> Distribution:
    """How a time is distributed, over what ended late as well unless there is none of that to count."""
    times_s = of.of(requests)
    if late is not None:
        times_s = np.concatenate([times_s, of.of(late), ages_s if of.is_sojourn else []])
    return Distribution.of(times_s[~np.isnan(times_s)].tolist())


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
