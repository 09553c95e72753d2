"""The search for the highest arrival rate at which every limit is kept, by levels of load chosen one after another."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from operator import attrgetter

from serve_deployments.endpoint import Endpoint, Payload
from serve_deployments.load.clock import Clock, RealClock
from serve_deployments.measuring.crediting import arrived_in, other_work, posterior_after
from serve_deployments.measuring.level import Clients, open_level
from serve_deployments.measuring.level_search import GROWTH, LATE, LevelSearch, beaten
from serve_deployments.measuring.locating import UntilLocated, is_precise, target_rps
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.measuring.predicting.batch_queue import FEWEST
from serve_deployments.measuring.predicting.calibration import Arrived
from serve_deployments.measuring.predicting.estimating import at_rate
from serve_deployments.measuring.predicting.rate_prediction import predicted_rates
from serve_deployments.measuring.slo import broken, check, excess, most_in_flight, room, tightest_s
from serve_deployments.measuring.statistics.rate_posterior import RatePosterior
from serve_deployments.measuring.stopping_rules import BEATEN, UntilSeen
from serve_deployments.metrics.level_result import LevelResult
from serve_deployments.metrics.measurement import Measurement
from serve_deployments.settings import Settings

_SHORT = 0.5  # the probe's levels need half the minimum length: they only say where to look (our choice)
_GLANCE = 1 / 8  # share of the remaining time that one level of the probe may take (our choice)
_FAIR = 1 / 2  # share of the remaining time that one level may take while none has passed (our choice)
_BUSY = 1 / 3  # share of the remaining time within which a level of the probe should have seen enough (our choice)
_PROBE_FACTOR = 8  # between the client counts of the probe: 1, 8, 64, …
_FIRST = 0.8  # first rate relative to the closed loop's: random arrivals queue, at 0.8 for two service times (M/D/1)
_SAFE = 0.1  # posterior probability of failing that a rate may have if all rates before it failed
_BACK = 0.7  # largest next rate, relative to the lowest that failed, where none has passed (our choice)
SLOWEST = 0.1  # lowest rate relative to one client's: there one request in ten meets another; nothing slower is tried


async def highest_rate(
    endpoint: Endpoint,
    payloads: Sequence[Payload],
    plan: LoadPlan,
    at_most: Mapping[str, float],
    settings: Settings,
    *,
    clock: Clock | None = None,
    to_beat_rps: float | None = None,
) -> Measurement:
    """Finds the highest arrival rate at which every limit is kept.

    A short closed loop says where to look and how long batches take, from which a simulated queue predicts a prior.
    Open levels follow, until their evidence together locates the rate to `plan.rate_precision`. A level passes if it
    keeps the limits and was not overloaded, that is, kept up with 95 % of the arrivals.

    Args:
        endpoint: the endpoint that answers.
        payloads: payloads of the requests, sent in turn.
        plan: how to measure.
        at_most: metric → largest value allowed; latencies in ms and `error_rate`.
        settings: the replica's settings, which determine the batches that it forms.
        clock: the clock to use; the machine's by default.
        to_beat_rps: the search ends as soon as a rate has passed and the highest rate is almost certainly lower than
            this; None: never.

    Raises:
        ValueError: a limit is on something that is not measured or is negative, or there is no limit.
    """
    check(at_most)
    search = LevelSearch("highest_rate", endpoint, payloads, plan, clock or RealClock())
    posterior = await _probe(search, at_most, settings.max_batch_size)
    if posterior is None:
        alone = search.levels[-1]
        broke = f"even a single client breaks a limit: {excess(alone, at_most)}"
        return search.result(alone, found=False, reason=broke if alone.achieved_rps else search.silent())
    posterior, ended_early = await _locate(search, posterior, at_most, settings, to_beat_rps or 0.0)
    low, high = posterior.quantile(0.025), posterior.quantile(0.975)
    reason = f"the highest rate is between {low:.3g} and {high:.3g} requests/s"
    reason += other_work(search.levels, plan.rate_precision)
    estimate_rps = None
    if ended_early:
        reason += f", so {beaten(to_beat_rps or 0.0)}"
        estimate_rps = target_rps(posterior, plan.rate_precision)
    elif not is_precise(posterior, plan.rate_precision):
        reason = f"out of time: {reason}"
        estimate_rps = target_rps(posterior, plan.rate_precision)
    passed = _kept(search, at_most)
    failed = [level for level in _opened(search) if broken(level, at_most)]
    if not passed or (failed and posterior.at_floor(plan.rate_precision)):
        # A level that kept the limits all the same was lucky, and does not show how far off the replica is.
        slowest = min(failed, key=attrgetter("asked"))
        reason = f"at {slowest.requested_rps:.3g} requests/s: {excess(slowest, at_most)}; {reason}"
        return search.result(slowest, found=False, reason=reason)
    best = _speaking(passed, posterior, plan)
    estimate = None if estimate_rps is None else at_rate(estimate_rps, best, search.levels, at_most)
    return search.result(
        best, found=True, reason=reason, ended_early=ended_early, estimate=estimate, between_rps=(low, high)
    )


def _speaking(passed: Sequence[LevelResult], posterior: RatePosterior, plan: LoadPlan) -> LevelResult:
    """The level whose latencies are reported: of those near the target rate the one with most requests, or the nearest.

    Not the highest that passed, nor the last: of levels near the limit, the shortest pass by luck most often.
    """
    near = [level for level in passed if _is_near(level, posterior, plan)]
    if near:
        return max(near, key=lambda level: level.completed)
    return min(passed, key=lambda level: abs(_off(level, posterior, plan)))


def _off(level: LevelResult, posterior: RatePosterior, plan: LoadPlan) -> float:
    """Logarithm of a level's rate relative to the target rate."""
    return math.log(level.asked / target_rps(posterior, plan.rate_precision))


def _is_near(level: LevelResult, posterior: RatePosterior, plan: LoadPlan) -> bool:
    """Whether a level's rate is the target rate to within the precision."""
    return abs(_off(level, posterior, plan)) <= math.log1p(plan.rate_precision)


def _opened(search: LevelSearch) -> list[LevelResult]:
    return [level for level in search.levels if level.mode == "open"]


def _kept(search: LevelSearch, at_most: Mapping[str, float]) -> list[LevelResult]:
    return [level for level in _opened(search) if not broken(level, at_most)]


def _is_empty(level: LevelResult) -> bool:
    """Whether no request ended in a level: none was due yet. It has no figures, but nothing speaks against its rate."""
    return not level.overloaded and level.completed + level.errors == 0


async def _probe(search: LevelSearch, at_most: Mapping[str, float], largest: int = 1) -> RatePosterior | None:
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


async def _locate(
    search: LevelSearch, posterior: RatePosterior, at_most: Mapping[str, float], settings: Settings, beat_rps: float
) -> tuple[RatePosterior, bool]:
    """Holds open levels, at least one, until the rate is known and one level is near it.

    Returns:
        The posterior, and whether the search ended because the rate to beat is out of reach.
    """
    late, requests = 0, list[Arrived]()
    posterior = _predicted(search, posterior, at_most, settings, requests)
    while True:
        rate_rps = _next_rate(search, posterior, at_most)
        plan = search.level_plan(1.0 if _kept(search, at_most) else _FAIR)
        rule = UntilLocated(plan, rate_rps, at_most, posterior, beat_rps)
        level = await open_level(
            search.endpoint,
            search.payloads,
            rate_rps,
            plan,
            clock=search.clock,
            max_in_flight=most_in_flight(rate_rps, at_most),
            rule=rule,
        )
        search.add(level)
        if (arrived := arrived_in(level, rule)) is not None:
            requests.append(arrived)
        posterior = _predicted(search, posterior_after(level, rule, search.levels), at_most, settings, requests)
        kept = _kept(search, at_most)
        # A level whose senders were the bottleneck says too little of the replica: it may be able to do more.
        its_own = not any(held.client_limited for held in search.levels if held.mode == "open")
        if kept and its_own and beat_rps and posterior.below(beat_rps) > BEATEN:
            return posterior, True
        answers = [x for x in kept if _is_near(x, posterior, plan)]
        hopeless = rate_rps == posterior.floor_rps and level not in kept and posterior.at_floor(plan.rate_precision)
        if hopeless or (answers and is_precise(posterior, plan.rate_precision)):
            return posterior, False
        late += not search.has_time
        if late > (0 if kept else LATE):
            return posterior, False


def _predicted(
    search: LevelSearch,
    posterior: RatePosterior,
    at_most: Mapping[str, float],
    settings: Settings,
    requests: Sequence[Arrived],
) -> RatePosterior:
    """The posterior with the priors of a simulated queue that knows batches and requests of all levels so far."""
    near_rps, arrivals = posterior.quantile(0.5), search.plan.arrivals
    return posterior.with_priors(predicted_rates(search.levels, settings, arrivals, at_most, near_rps, requests))


def _next_rate(search: LevelSearch, posterior: RatePosterior, at_most: Mapping[str, float]) -> float:
    """The next rate to measure: just below the posterior median, or farther while all levels passed or all failed."""
    precision = search.plan.rate_precision
    rate_rps = target_rps(posterior, precision)
    if posterior.at_floor(precision):
        return posterior.floor_rps
    opened = sorted(_opened(search), key=attrgetter("asked"))
    broke = [level.asked for level in opened if broken(level, at_most) and not _is_empty(level)]
    if opened and not broke and not all(map(_is_empty, opened)):
        # In an M/M/1 queue, 1 / latency falls linearly with the rate, to 0 at the capacity.
        last, its = opened[-1].asked, room(opened[-1], at_most)
        ahead_rps = last + (1 - 1 / its) * max(0.0, min(posterior.ceiling_rps, 3 * last) - last)
        return min(max(rate_rps, ahead_rps), 2 * last)
    if broke and not _kept(search, at_most):
        if search.spent_s > search.total_s / 2:
            # A search in which every rate failed has no answer: rather try one that is too slow.
            return max(posterior.floor_rps, min(rate_rps, posterior.quantile(_SAFE), _BACK * broke[0]))
        if is_precise(posterior, precision):
            return min(rate_rps, broke[0] / (1 + precision))  # that was bad luck, or the posterior is wrong
    return rate_rps
