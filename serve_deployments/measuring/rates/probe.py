"""The probe: short closed levels that say where to look for the highest rate, and how long batches take."""

from __future__ import annotations

import math
from collections.abc import Mapping

from serve_deployments.measuring.level import Clients
from serve_deployments.measuring.predicting.batch_queue import FEWEST
from serve_deployments.measuring.rates.level_search import GROWTH, LevelSearch
from serve_deployments.measuring.slo import broken, room, tightest_s
from serve_deployments.measuring.statistics.rate_posterior import RatePosterior
from serve_deployments.measuring.stopping_rules import UntilSeen
from serve_deployments.metrics.level_result import LevelResult

_SHORT = 0.5  # the probe's levels need half the minimum length: they only say where to look (our choice)
_GLANCE = 1 / 8  # share of the remaining time that one level of the probe may take (our choice)
_BUSY = 1 / 3  # share of the remaining time within which a level of the probe should have seen enough (our choice)
_PROBE_FACTOR = 8  # between the client counts of the probe: 1, 8, 64, …
_FIRST = 0.8  # first rate relative to the closed loop's: random arrivals queue, at 0.8 for two service times (M/D/1)
SLOWEST = 0.1  # lowest rate relative to one client's: there one request in ten meets another; nothing slower is tried


async def probe(search: LevelSearch, at_most: Mapping[str, float], largest: int = 1) -> RatePosterior | None:
    """A first prior of the rate, from short closed levels; None if not even one client keeps the limits.

    A client in a closed loop waits for its answer, so N clients never queue as deep as random arrivals at the same
    rate: the rate that they reach within the limits is an upper estimate. A short level may break a limit by chance,
    so if none keeps the limits, one client is measured again in a level of full length.

    Args:
        search: the search.
        at_most: metric → largest value allowed.
        largest: largest number of requests that the server takes at once, as far as is known.
    """
    plan = search.plan
    async with Clients(search.endpoint, search.payloads, plan, search.clock) as clients:
        bounded = await _climb_until_broken(search, clients, at_most, largest)
        kept = [level for level in search.levels if _answered_within(level, at_most)]
        if not kept:
            alone = search.add(await clients.hold(1, search.level_plan()))
            if not _answered_within(alone, at_most):
                return None
            kept = [alone]
    most = max(kept, key=lambda level: level.achieved_rps)
    reached = [level.achieved_rps for level in search.levels if level.achieved_rps]
    slower = most.achieved_rps
    too_fast = [rate for rate in reached if rate > slower]
    # If the climb ended for lack of time, the next level would have reached more, depending on the room to the limits.
    more = 1.0 if bounded else math.sqrt(min(room(most, at_most), _PROBE_FACTOR**2))
    return RatePosterior.about(
        _FIRST * more * math.sqrt(slower * min(too_fast, default=slower)),
        len(at_most),
        floor_rps=SLOWEST * reached[0],
        ceiling_rps=bounded * max(reached) if bounded else math.inf,
    )


def _answered_within(level: LevelResult, at_most: Mapping[str, float]) -> bool:
    """Whether a level keeps the limits and has an answer; a short level of a slow server may end without one."""
    return level.achieved_rps > 0 and not broken(level, at_most)


async def _climb_until_broken(
    search: LevelSearch, clients: Clients, at_most: Mapping[str, float], largest: int = 1
) -> float:
    """Holds 1, 8, 64, … clients until limits are broken, the rate no longer grows or a quarter of the time is up.

    That one client breaks a limit does not end it: a batch that waits to be full is answered sooner with more clients.

    Returns:
        The server's probable maximum rate as a multiple of the highest rate reached; 0 if it is not known.
    """
    concurrency, highest_rps, kept_before = 1, 0.0, False
    rule = UntilSeen(_SHORT * search.plan.level_min_s, FEWEST)
    while True:
        plan = search.level_plan(_GLANCE, patience=_BUSY if search.levels else 1.0)
        level = search.add(await clients.hold(concurrency, plan, rule))
        kept, flat = _answered_within(level, at_most), 0 < level.achieved_rps <= GROWTH * highest_rps
        if flat or (kept_before and not kept):
            return GROWTH
        spent = search.spent_s > max(search.total_s / 4, (FEWEST + 1) * search.request_s)
        if concurrency >= search.plan.max_concurrency or spent:
            return 0.0
        highest_rps, kept_before = max(highest_rps, level.achieved_rps), kept_before or kept
        # Little's law: with more clients the mean latency is above the limit even at twice the rate, and a level that
        # is bound to fail takes the longest.
        most = 2 * highest_rps * tightest_s(at_most) if kept_before else math.inf
        if most < 1.5 * concurrency:
            return 2.0
        wanted = int(min(_PROBE_FACTOR * concurrency, search.plan.max_concurrency, most, _in_time(search, largest)))
        if wanted <= concurrency:
            return 0.0
        concurrency = wanted


def _in_time(search: LevelSearch, largest: int) -> float:
    """The number of clients that would all be answered twice within the time of a level of the probe.

    At worst the server answers as many of them at a time as it has done so far (Little's law), or a batch of `largest`,
    each time as slowly as a request alone.
    """
    if not search.request_s:
        return math.inf
    at_once = max(largest, search.request_s * max(level.achieved_rps for level in search.levels))
    return at_once * max(1, math.floor(_BUSY * search.left_s / 2 / search.request_s))
