"""Computes a level's `LevelResult` from its events, and whether the client rather than the server limited it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from serve_deployments.load.events import Events, Span
from serve_deployments.measuring.statistics.stalls import delayed_by, stalls_by_others, taken_s
from serve_deployments.measuring.stopping_rules import LevelStatus
from serve_deployments.metrics.distribution import Distribution
from serve_deployments.metrics.level_result import LevelResult, Mode
from serve_deployments.metrics.metric_table import ITL, LATENCY, METRICS, REQUEST_TIMES, TTFT, RequestTime
from serve_deployments.metrics.request_record import Requests
from serve_deployments.resources.usage import Usage

_BUSY_SHARE = 0.85  # share of a core beyond which an event loop queues its own work (the GIL allows it one core)
_LAG_FLOOR_MS = 2.0  # asyncio's timers have a resolution of a millisecond: up to two of them are no lag
_LAG_SHARE = 0.2  # share of the p99 latency: our choice; a rate found under a limit on it is off by a few % at most


@dataclass(frozen=True)
class LevelRun:
    """How a level was held.

    Args:
        mode: see `LevelResult`.
        concurrency: number of clients of a closed level; None for an open one.
        requested_rps: rate of an open level; None for a closed one.
        started_at: start in seconds since 1970.
        ended_at: end in seconds since 1970.
        stopped: whether its senders stopped it because too many requests were in flight.
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
    usage: Usage | None = None,
    background: float | None = None,
) -> LevelResult:
    """Computes the result of a level.

    Args:
        run: how it was held.
        events: its events.
        status: the last status of its stopping rule; None: too little happened for one, and all events are measured.
        ages_s: how long the requests that were given up had waited. They and those that ended after the level count
            only if its question is open or it was overloaded: the requests answered in time are the faster ones, and
            alone would make the server look better than it is.
        until_s: when the level was stopped.
        ended: number of requests that had ended by then; all by default.
        usage: the replica's usage in the level. Requests of an open level that stalls delayed, if other work explains
            these, are left out of its times and are counted apart.
        background: the share that other work has of the replica's cores all the time; None: not known, and then no
            stall is explained by other work (`stalls.background_share`).
    """
    ended = events.count if ended is None else ended
    status = status or LevelStatus(events.span(0, ended, until_s=until_s), None)
    span, overloaded = status.span, run.stopped or status.overloaded
    sure = status.sure and not overloaded
    dropped = events.dropped_after(ended)
    requests = span.requests.and_then(dropped)
    completed, errors = int(span.answered.sum()), int(requests.failed.sum())
    error_rate = errors / (completed + errors) if completed + errors else 1.0
    achieved_rps = completed / span.duration_s
    low, high = _around(achieved_rps, status)
    stalls = stalls_by_others(events, taken_s(usage, background)) if run.mode == "open" else []
    delayed = delayed_by(events, stalls)
    times = _times(events, span, delayed, ages_s, ended=ended, sure=sure)
    lag_ms = 1e3 * _p99(span.lag_s.tolist())
    return LevelResult(
        mode=run.mode, concurrency=run.concurrency, requested_rps=run.requested_rps, achieved_rps=achieved_rps,
        rate_rps=rate_of(None if overloaded else run.requested_rps, achieved_rps, error_rate, high),
        duration_s=span.duration_s, completed=completed, errors=errors, error_rate=error_rate, distributions=times,
        steady=sure, overloaded=overloaded, fell_behind=status.overloaded,
        client_cpu_share=span.cpu_share, client_lag_ms=lag_ms,
        client_limited=client_limited(span.cpu_share, lag_ms, _shortest_p99_ms(times)),
        warmup_s=span.start_s - events.start_s, started_at=run.started_at, ended_at=run.ended_at,
        rate_low_rps=low, rate_high_rps=high, first_error=events.first_error, failed_samples=events.failed_samples,
        stalled=int(delayed[_places(span)].sum()), stalled_s=sum(stall.length_s for stall in stalls), usage=usage,
        unanswered=len(ages_s), unanswered_s=min(ages_s, default=0.0), counts=_counts(requests, span.duration_s),
    )  # fmt: skip


def _places(span: Span) -> slice:
    """The places of a span's requests among those of its level."""
    return slice(span.first, span.first + len(span.requests))


def _times(
    events: Events, span: Span, delayed: np.ndarray, ages_s: Sequence[float], *, ended: int, sure: bool
) -> dict[str, Distribution]:
    """The distribution of each time of a request, by its name.

    Args:
        events: the level's events.
        span: the part of them that is measured.
        delayed: whether stalls by other work delayed a request, for each of the level; those are left out.
        ages_s: see `summarise`.
        ended: number of requests that had ended when the level was stopped.
        sure: whether the level's question is answered; if not, requests that outlived the level count too.
    """
    timed = span.requests.where(~delayed[_places(span)]).and_then(events.dropped_after(ended))
    later = events.requests(ended)
    late = None if sure else later.where(~delayed[ended:] & ~later.dropped)
    found = {name: _distribution(of, timed, late, ages_s) for name, of in REQUEST_TIMES.items()}
    # Of answers that are not streamed there is nothing to keep of the times of their parts.
    return {name: times for name, times in found.items() if times.values or name == LATENCY.name}


def _counts(requests: Requests, duration_s: float) -> dict[str, float]:
    """The value of each metric of the table that counts requests, where it has one."""
    counted = {name: m.count(requests, duration_s) for name, m in METRICS.items() if m.is_in_counts}
    return {name: value for name, value in counted.items() if not math.isnan(value)}


def _around(achieved_rps: float, status: LevelStatus) -> tuple[float | None, float | None]:
    """The interval of the achieved rate; None for both ends where there is no estimate.

    The estimate is of the pieces between pauses and the achieved rate of the whole span, so that an interval of hardly
    any width may lie beside it.
    """
    if status.estimate is None:
        return None, None
    low, high = status.estimate.bounds()
    return min(max(0.0, low), achieved_rps), max(high, achieved_rps)


def rate_of(kept_up_rps: float | None, achieved_rps: float, error_rate: float, high_rps: float | None) -> float:
    """The rate that is reported for a level.

    For an open level that kept up: the requested rate less the share that failed, as the number of requests that chance
    sent in its few seconds says nothing about the server; but not more than the upper end of the interval of the
    achieved rate. For any other level: the achieved rate.

    Args:
        kept_up_rps: requested rate of an open level that was not overloaded; None for any other level.
        achieved_rps: answers per second.
        error_rate: share of requests that failed.
        high_rps: upper end of the 95 % interval of the achieved rate; None where it is not known.
    """
    return achieved_rps if kept_up_rps is None else min(kept_up_rps * (1 - error_rate), high_rps or math.inf)


def _distribution(of: RequestTime, requests: Requests, late: Requests | None, ages_s: Sequence[float]) -> Distribution:
    """The distribution of a time over the level's requests, and over late and given-up ones where these count.

    Args:
        of: the time.
        requests: requests that ended in the level.
        late: requests that ended after it; None if neither they nor `ages_s` count.
        ages_s: how long the requests that were given up had waited.
    """
    times_s = of.of(requests)
    if late is not None:
        times_s = np.concatenate([times_s, of.of(late), ages_s if of.is_sojourn else []])
    return Distribution.of(times_s[~np.isnan(times_s)].tolist())


def _shortest_p99_ms(times: Mapping[str, Distribution]) -> float | None:
    """The smallest 99th percentile of the times that a late client prolongs; None if there is none.

    Of a streamed answer, those are also the time to its first part and each gap between parts. A time per token is
    of a whole answer, and hardly changes if its last part is seen late.
    """
    p99_ms = [times[name].value("p99_ms") for name in (LATENCY.name, TTFT.name, ITL.name) if name in times]
    return min((value for value in p99_ms if value is not None), default=None)


def client_limited(cpu_share: float, lag_ms: float, p99_ms: float | None) -> bool:
    """Whether the numbers say more about the measuring process than about the server.

    Either it used more than 0.85 of a core: an event loop runs on one core, and close to that every answer waits for
    its turn. Or it was late, by more than a fifth of the p99 of a time, which is then largely the client's own, and by
    more than the inaccuracy of timers. It may be late without using much CPU if other processes use its core. An
    overloaded server needs no special case: its queue makes the latency long, and a lag is small against that.
    """
    late = p99_ms is not None and lag_ms > max(_LAG_FLOOR_MS, _LAG_SHARE * p99_ms)
    return cpu_share > _BUSY_SHARE or late


def _p99(values: Sequence[float]) -> float:
    """99th percentile by nearest rank; 0 if there are no values."""
    return sorted(values)[math.ceil(0.99 * len(values)) - 1] if values else 0.0
