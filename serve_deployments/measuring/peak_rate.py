"""The most answers per second, whatever the latency: clients are doubled for as long as it pays."""

from __future__ import annotations

import math
from collections.abc import Sequence

from serve_deployments.endpoint import Endpoint, Payload
from serve_deployments.load.clock import Clock, RealClock
from serve_deployments.measuring.level import Clients
from serve_deployments.measuring.level_search import GROWTH, LevelSearch, beaten
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.measuring.stopping_rules import UntilPrecise
from serve_deployments.metrics.level_result import LevelResult
from serve_deployments.metrics.measurement import Measurement

TIE = 0.98  # closer than intervals of 5 % can tell apart; more clients would then only wait longer


async def peak_rate(
    endpoint: Endpoint,
    payloads: Sequence[Payload],
    plan: LoadPlan,
    *,
    clock: Clock | None = None,
    to_beat_rps: float | None = None,
) -> Measurement:
    """The most answers per second, whatever the latency.

    Doubles the clients from `plan.start_concurrency` until the rate has grown by less than 5 % twice running
    or `plan.max_concurrency` is reached. Of levels within 2 % of the highest rate, the one of fewest clients
    is reported. Starting at the largest batch (`LoadPlan.filling`) saves the levels that cannot fill it.

    Args:
        endpoint: what answers.
        payloads: sent in turn.
        plan: how to measure.
        clock: time; the machine's unless given.
        to_beat_rps: ends as soon as the peak is surely lower; None: never. From `plan.start_concurrency` on, each
            doubling must then bring less than the one before, as it does where so many clients fill a batch.
    """
    search = LevelSearch("peak_rate", endpoint, payloads, plan, clock or RealClock())
    async with Clients(endpoint, payloads, plan, search.clock) as clients:
        reason, ended_early = await _climb(search, clients, to_beat_rps or 0.0)
    highest_rps = max(level.achieved_rps for level in search.levels)
    reported = next(level for level in search.levels if level.achieved_rps >= TIE * highest_rps)
    if not highest_rps:
        reason = f"no request was answered; {reason}"
    return search.result(
        reported,
        found=highest_rps > 0,
        reason=reason,
        ended_early=ended_early,
        between_rps=(reported.rate_low_rps, reported.rate_high_rps),
    )


async def _climb(search: LevelSearch, clients: Clients, to_beat_rps: float) -> tuple[str, bool]:
    """Doubles the clients for as long as it pays; why it ended, and whether for what was to be beaten."""
    plan, concurrency, highest_rps, flat = search.plan, search.plan.start_concurrency, 0.0, 0
    while True:
        # What two more doublings, after which the climb would end, could still add: each at most as much as the last.
        growth = _growth(search.levels)
        beat_rps = to_beat_rps / growth**2 if growth else 0.0
        its_plan = search.level_plan()
        level = search.add(await clients.hold(concurrency, its_plan, UntilPrecise(its_plan, beat_rps)))
        growth = _growth(search.levels)
        if growth and (level.rate_high_rps or math.inf) * growth**2 < to_beat_rps:
            at_most = f"{concurrency} clients: with {level.rate_high_rps:.3g} requests/s at most"
            return f"{at_most}, {beaten(to_beat_rps)}", True
        flat = flat + 1 if level.achieved_rps <= GROWTH * highest_rps else 0
        highest_rps = max(highest_rps, level.achieved_rps)
        if flat == 2:
            return f"beyond {concurrency // 4} clients the rate no longer grew", False
        if concurrency >= plan.max_concurrency:
            return f"{concurrency} clients are the declared maximum", False
        if not search.has_time:
            return f"out of time after {concurrency} clients", False
        concurrency = min(2 * concurrency, plan.max_concurrency)


def _growth(levels: Sequence[LevelResult]) -> float | None:
    """By what factor the last doubling of clients raised the rate at most, 1.05 at least; None before there was one."""
    if len(levels) < 2 or not levels[-2].rate_low_rps:
        return None
    return max(GROWTH, (levels[-1].rate_high_rps or math.inf) / levels[-2].rate_low_rps)
