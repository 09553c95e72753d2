"""The search for the highest throughput, whatever the latency: clients are doubled while the throughput grows."""

from __future__ import annotations

import math
from collections.abc import Sequence

from serve_deployments.endpoint import Endpoint, Payload
from serve_deployments.load.clock import Clock, RealClock
from serve_deployments.measuring.level import Clients
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.measuring.rates.level_search import GROWTH, LevelSearch, beaten
from serve_deployments.measuring.stopping_rules import UntilPrecise
from serve_deployments.metrics.level_result import LevelResult
from serve_deployments.metrics.measurement import Measurement

TIE = 0.98  # closer than intervals of 5 % can distinguish; more clients would only wait longer


async def peak_rate(
    endpoint: Endpoint,
    payloads: Sequence[Payload],
    plan: LoadPlan,
    *,
    clock: Clock | None = None,
    to_beat_rps: float | None = None,
) -> Measurement:
    """Finds the highest throughput, whatever the latency.

    Doubles the clients from `plan.start_concurrency` until the rate has grown by at most 5 % twice in a row, or until
    `plan.max_concurrency` or the end of the time is reached. Of the levels within 2 % of the highest rate, the one with
    the fewest clients is reported. Starting at the largest batch (`LoadPlan.filling`) saves levels that cannot fill it.

    Args:
        endpoint: the endpoint that answers.
        payloads: payloads of the requests, sent in turn.
        plan: how to measure.
        clock: the clock to use; the machine's by default.
        to_beat_rps: the search ends as soon as the peak is almost certainly lower; None: never. This assumes that from
            `plan.start_concurrency` on each doubling brings less than the one before, which holds where that many
            clients fill a batch.
    """
    search = LevelSearch("peak_rate", endpoint, payloads, plan, clock or RealClock())
    async with Clients(endpoint, payloads, plan, search.clock) as clients:
        reason, ended_early = await _climb(search, clients, to_beat_rps or 0.0)
    highest_rps = max(level.achieved_rps for level in search.levels)
    reported = next(level for level in search.levels if level.achieved_rps >= TIE * highest_rps)
    if not highest_rps:
        reason = f"{search.silent()}; {reason}"
    return search.result(
        reported,
        found=highest_rps > 0,
        reason=reason,
        ended_early=ended_early,
        between_rps=(reported.rate_low_rps, reported.rate_high_rps),
    )


async def _climb(search: LevelSearch, clients: Clients, to_beat_rps: float) -> tuple[str, bool]:
    """Doubles the clients while the rate grows; returns why it ended, and whether the rate to beat was out of reach."""
    plan, concurrency, highest_rps, flat = search.plan, search.plan.start_concurrency, 0.0, 0
    while True:
        # Two more doublings, after which the climb would end, can each add at most as much as the last one did.
        growth = _growth(search.levels)
        beat_rps = to_beat_rps / growth**2 if growth else 0.0
        its_plan = search.level_plan()
        level = search.add(await clients.hold(concurrency, its_plan, UntilPrecise(its_plan, beat_rps)))
        growth = _growth(search.levels)
        if growth and not level.client_limited and (level.rate_high_rps or math.inf) * growth**2 < to_beat_rps:
            at_most = f"at most {level.rate_high_rps:.3g} requests/s with {_clients(concurrency)}"
            return f"{at_most}, so {beaten(to_beat_rps)}", True
        flat = flat + 1 if level.achieved_rps <= GROWTH * highest_rps else 0
        highest_rps = max(highest_rps, level.achieved_rps)
        if flat == 2:
            return f"beyond {_clients(concurrency // 4)} the rate no longer grew", False
        if concurrency >= plan.max_concurrency:
            return f"reached the maximum of {_clients(concurrency)} (max_concurrency)", False
        if not search.has_time:
            return f"out of time after {_clients(concurrency)}", False
        concurrency = min(2 * concurrency, plan.max_concurrency)


def _growth(levels: Sequence[LevelResult]) -> float | None:
    """Upper bound, 1.05 or more, of the factor by which the last doubling raised the rate; None if it is not known."""
    if len(levels) < 2 or not levels[-2].rate_low_rps:
        return None
    return max(GROWTH, (levels[-1].rate_high_rps or math.inf) / levels[-2].rate_low_rps)


def _clients(many: int) -> str:
    return "1 client" if many == 1 else f"{many} clients"
