"""Which rate can it do? Levels of load, chosen one after another."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from serve_deployments.bracket import Bracket
from serve_deployments.clock import Clock, RealClock
from serve_deployments.endpoint import Endpoint, Payload
from serve_deployments.levels import LevelSearch
from serve_deployments.load import Clients, open_level
from serve_deployments.measurement import LATENCIES, Load, Measurement, metrics_of
from serve_deployments.plan import LoadPlan
from serve_deployments.windows import Window

_GROWTH = 1.05  # a level that brings less than 5 % more has not raised the rate
_TIE = 0.98  # closer than windows of 10 % can tell apart; more clients would then only wait longer
_PROBE_FACTOR = 4  # between the client counts of the probe: 1, 4, 16, …
_FIRST = 0.8  # of what a closed loop does: random arrivals queue, at 0.8 for two service times (M/D/1)
_SLOWEST = 0.1  # of what one client does: there one request in ten meets another; nothing slower is tried
_TAILS = ("p95_ms", "p99_ms", "p999_ms", "max_ms")
_NO_QUEUE = 16  # in flight: about a batch


async def peak_rate(
    endpoint: Endpoint, payloads: Sequence[Payload], plan: LoadPlan, *, clock: Clock | None = None
) -> Measurement:
    """The most answers per second, whatever the latency.

    Doubles the clients from `plan.start_concurrency` until the rate has grown by less than 5 % twice running
    or `plan.max_concurrency` is reached. Of levels within 2 % of the highest rate, the one of fewest clients
    is reported. Starting at twice the largest batch saves the levels that cannot fill it.
    """
    search = LevelSearch("peak_rate", endpoint, payloads, plan, clock or RealClock())
    async with Clients(endpoint, payloads, plan, search.clock) as clients:
        reason = await _climb(search, clients)
    highest_rps = max(load.achieved_rps for load in search.loads)
    reported = next(load for load in search.loads if load.achieved_rps >= _TIE * highest_rps)
    if not highest_rps:
        reason = f"no request was answered; {reason}"
    return search.result(reported, found=highest_rps > 0, reason=reason)


async def _climb(search: LevelSearch, clients: Clients) -> str:
    """Doubles the clients for as long as it pays; why it ended."""
    plan, concurrency, highest_rps, flat = search.plan, search.plan.start_concurrency, 0.0, 0
    while True:
        load = search.add(await clients.hold(concurrency, search.level_plan()))
        flat = flat + 1 if load.achieved_rps <= _GROWTH * highest_rps else 0
        highest_rps = max(highest_rps, load.achieved_rps)
        if flat == 2:
            return f"beyond {concurrency // 4} clients the rate no longer grew"
        if concurrency >= plan.max_concurrency:
            return f"{concurrency} clients are the declared maximum"
        if not search.has_time(load.achieved_rps):
            return f"out of time after {concurrency} clients"
        concurrency = min(2 * concurrency, plan.max_concurrency)


async def highest_rate(
    endpoint: Endpoint,
    payloads: Sequence[Payload],
    plan: LoadPlan,
    at_most: Mapping[str, float],
    *,
    clock: Clock | None = None,
) -> Measurement:
    """The highest rate of arrivals under which every limit is kept.

    A short closed loop says where to look; then open levels, doubled until one fails and bisected until
    the lowest failing rate is within `plan.rate_precision` of the highest passing one. A level passes if it
    keeps the limits and was not overloaded, that is, kept up with 95 % of what was due.

    Args:
        endpoint: what answers.
        payloads: sent in turn.
        plan: how to measure.
        at_most: metric → largest value allowed; latencies in ms and `error_rate`.
        clock: time; the machine's unless given.

    Raises:
        ValueError: a limit on something that is not measured, or none at all.
    """
    _check(at_most)
    search = LevelSearch("highest_rate", endpoint, payloads, plan, clock or RealClock())
    bracket = await _probe(search, at_most)
    if bracket is None:
        alone = search.loads[-1]
        return search.result(alone, found=False, reason=f"one client alone: {_excess(alone, at_most)}")
    opened, reason = await _bisect(search, bracket, at_most)
    passed = [load for load in opened if load.requested_rps == bracket.passed_rps]
    if passed:
        return search.result(passed[0], found=True, reason=reason)
    slowest = min(opened, key=lambda load: load.requested_rps or 0.0)
    reason = f"{slowest.requested_rps:.3g} requests/s: {_excess(slowest, at_most)}; {reason}"
    return search.result(slowest, found=False, reason=reason)


async def _probe(search: LevelSearch, at_most: Mapping[str, float]) -> Bracket | None:
    """Where to look for the rate, from short closed levels; None if not even one client keeps the limits.

    A client in a closed loop waits for its answer, so N clients never queue as deep as random arrivals at
    the same rate: what they reach within the limits is an upper estimate. A level of one window may break a
    limit by chance, so that none keeps them is believed only after a level of full length.
    """
    plan, requests = search.plan, math.ceil(search.plan.window_requests / 2)
    short = replace(plan, window_s=plan.window_s / 2, window_requests=requests, steady_windows=1)
    async with Clients(search.endpoint, search.payloads, plan, search.clock) as clients:
        await _climb_until_broken(search, clients, short, at_most)
        kept = [load.achieved_rps for load in search.loads if not broken(load, at_most)]
        if not kept:
            alone = search.add(await clients.hold(1, search.level_plan()))
            if broken(alone, at_most):
                return None
            kept = [alone.achieved_rps]
    reached = [load.achieved_rps for load in search.loads]
    too_fast = [rate for rate in reached if rate > max(kept)]
    return Bracket(
        first_rps=_FIRST * math.sqrt(max(kept) * min(too_fast, default=max(kept))),
        ceiling_rps=_GROWTH * max(reached),
        floor_rps=_SLOWEST * search.loads[0].achieved_rps,
        precision=plan.rate_precision,
    )


async def _climb_until_broken(
    search: LevelSearch, clients: Clients, short: LoadPlan, at_most: Mapping[str, float]
) -> None:
    """1, 4, 16, … clients until limits no longer hold, the rate no longer grows or a third of the time is up.

    That one client breaks a limit does not end it: a batch that waits to be full is answered sooner when
    there are more.
    """
    concurrency, highest_rps, kept_before = 1, 0.0, False
    while True:
        load = search.add(await clients.hold(concurrency, search.level_plan(short)))
        kept, flat = not broken(load, at_most), load.achieved_rps <= _GROWTH * highest_rps
        if flat or (kept_before and not kept) or concurrency >= search.plan.max_concurrency:
            return
        if search.spent_s > search.plan.total_max_s / 3:
            return
        highest_rps, kept_before = max(highest_rps, load.achieved_rps), kept_before or kept
        concurrency = min(_PROBE_FACTOR * concurrency, search.plan.max_concurrency)
        # Little's law: with so many clients the mean latency is above the limit even at twice the rate, and a
        # level that is bound to fail takes the longest of all.
        if kept_before and concurrency / (2 * highest_rps) > _tightest_s(at_most):
            return


async def _bisect(search: LevelSearch, bracket: Bracket, at_most: Mapping[str, float]) -> tuple[list[Load], str]:
    """The open levels, at least one, and why there are no more."""
    opened: list[Load] = []
    while (rate_rps := bracket.next_rate()) is not None:
        if opened and not search.has_time(rate_rps):
            return opened, f"out of time: the limit is {bracket}"
        load = await open_level(
            search.endpoint,
            search.payloads,
            rate_rps,
            search.level_plan(),
            clock=search.clock,
            max_in_flight=_most_in_flight(rate_rps, at_most),
            hopeless=lambda windows: _lost(windows, at_most),
        )
        opened.append(search.add(load))
        bracket.tell(rate_rps, not broken(load, at_most))
    return opened, f"the limit is {bracket}"


def broken(load: Load, at_most: Mapping[str, float]) -> tuple[str, ...]:
    """Names of the limits that a level does not keep; an overloaded level keeps none."""
    if load.overloaded:
        return tuple(at_most)
    metrics = load.metrics
    return tuple(name for name, limit in at_most.items() if not metrics.get(name, math.inf) <= limit)


def _excess(load: Load, at_most: Mapping[str, float]) -> str:
    """For people: "p99_ms is 120, the limit 100"."""
    metrics = load.metrics
    over = [
        f"{name} is {metrics[name]:.4g}, the limit {limit:.4g}" if name in metrics else f"{name} has no value"
        for name, limit in at_most.items()
        if not metrics.get(name, math.inf) <= limit
    ]
    if load.overloaded:
        over.append(f"overloaded, only {load.achieved_rps:.3g} requests/s were answered")
    return ", ".join(over)


def _lost(windows: Sequence[Window], at_most: Mapping[str, float]) -> bool:
    """Each of two or more windows breaks the same limit alone: then all of them together do."""
    if len(windows) < 2:
        return False
    reported = [metrics_of(window.latencies_s, window.errors) for window in windows]
    return any(all(not metrics.get(name, math.inf) <= limit for metrics in reported) for name, limit in at_most.items())


def _tightest_s(at_most: Mapping[str, float]) -> float:
    """The lowest latency limit; infinity if there is none."""
    return min((at_most[name] / 1e3 for name in LATENCIES if name in at_most), default=math.inf)


def _most_in_flight(rate_rps: float, at_most: Mapping[str, float]) -> int | None:
    """How many requests in flight prove that a latency limit is lost, so that the level can stop at once.

    Little's law: with more than rate x limit in flight the mean latency is above the limit. Three times
    that many are no accident to a limit on the tail; one on the bulk may survive a short stall: ten times.
    """
    factors = {name: 3 if name in _TAILS else 10 for name in LATENCIES}
    limits = [factors[name] * limit / 1e3 for name, limit in at_most.items() if name in factors]
    return max(_NO_QUEUE, math.ceil(rate_rps * min(limits))) if limits else None


def _check(at_most: Mapping[str, float]) -> None:
    known = (*LATENCIES, "error_rate")
    unknown = sorted(set(at_most) - set(known))
    if unknown or not at_most:
        asked = f"a limit on {', '.join(unknown)}" if unknown else "no limit"
        raise ValueError(f"{asked} was asked for; there are {', '.join(known)}; without limits use peak_rate")
    for name, limit in at_most.items():
        if not limit >= 0:
            raise ValueError(f"the limit of {name} must be 0 or more, got {limit}")
