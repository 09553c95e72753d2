"""The search for the highest arrival rate at which every limit is kept, by levels of load chosen one after another."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

from serve_deployments.endpoint import Endpoint, Payload
from serve_deployments.load.clock import Clock, RealClock
from serve_deployments.measuring.level import open_level
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.measuring.predicting.estimating import at_rate
from serve_deployments.measuring.predicting.rate_prediction import predicted_rates
from serve_deployments.measuring.rates.crediting import background_of, other_work, shown_by
from serve_deployments.measuring.rates.level_evidence import LevelEvidence, posterior_of
from serve_deployments.measuring.rates.level_search import LATE, LevelSearch, beaten
from serve_deployments.measuring.rates.locating import UntilLocated, is_precise, target_rps
from serve_deployments.measuring.rates.probe import probe
from serve_deployments.measuring.slo import broken, check, excess, most_in_flight, room
from serve_deployments.measuring.statistics.rate_posterior import RatePosterior
from serve_deployments.measuring.stopping_rules import BEATEN
from serve_deployments.metrics.level_result import LevelResult
from serve_deployments.metrics.measurement import Measurement
from serve_deployments.settings import Settings

_FAIR = 1 / 2  # share of the remaining time that one level may take while none has passed (our choice)
_SAFE = 0.1  # posterior probability of failing that a rate may have if all rates before it failed
_BOUND_ONLY = 1 / 4
"""Share of the time after which a search ends whose rate is only a lower bound, as the load generator was a bottleneck:
its delays are in the latencies that are measured, and no more levels tell them apart. Our choice."""
_BACK = 0.7  # largest next rate, relative to the lowest that failed, where none has passed (our choice)


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
    posterior = await probe(search, at_most, settings.max_batch_size)
    if posterior is None:
        alone = search.levels[-1]
        broke = f"even a single client breaks a limit: {excess(alone, at_most)}"
        return search.result(alone, found=False, reason=broke if alone.achieved_rps else search.silent())
    return _found(search, await _locate(search, posterior, at_most, settings, to_beat_rps or 0.0), at_most)


@dataclass(frozen=True)
class _Ended:
    """How a search has ended.

    Args:
        posterior: what is known of the rate.
        gave_up: why it ended before the rate was located; None if it did not.
        only_bound: whether it had time left for more levels, but they would not have told more, as the load generator
            was a bottleneck.
    """

    posterior: RatePosterior
    gave_up: str | None = None
    only_bound: bool = False


def _found(search: LevelSearch, ended: _Ended, at_most: Mapping[str, float]) -> Measurement:
    """The result of a search.

    Args:
        search: the search with its levels.
        ended: how it has ended.
        at_most: metric → largest value allowed.
    """
    plan, posterior, gave_up = search.plan, ended.posterior, ended.gave_up
    low, high = posterior.quantile(0.025), posterior.quantile(0.975)
    reason = f"the highest rate is between {low:.3g} and {high:.3g} requests/s"
    reason += other_work(search.levels)
    passed = _kept(search, at_most)
    best = _speaking(passed, posterior, plan) if passed else None
    near = best is not None and _is_near(best, posterior, plan)
    located = is_precise(posterior, plan.rate_precision) and (best is None or near)
    if gave_up is not None:
        reason += f", so {gave_up}"
    elif not located:
        bottleneck = "the load generator was a bottleneck, so more time would not tell more"
        reason = f"{bottleneck if ended.only_bound else 'out of time'}: {reason}"
    failed = [level for level in _opened(search) if broken(level, at_most)]
    if best is None or (failed and posterior.at_floor(plan.rate_precision)):
        # A level that kept the limits all the same was lucky, and does not show how far off the replica is.
        slowest = min(failed, key=attrgetter("asked"))
        reason = f"at {slowest.requested_rps:.3g} requests/s: {excess(slowest, at_most)}; {reason}"
        return search.result(slowest, found=False, reason=reason)
    estimate_rps = None if located and gave_up is None else target_rps(posterior, plan.rate_precision)
    estimate = None if estimate_rps is None else at_rate(estimate_rps, best, search.levels, at_most)
    # What is reported is just below the median, and a level near it: a narrow interval may lie above both.
    rate_rps = best.rate_rps if estimate_rps is None else estimate_rps
    between_rps = min(low, rate_rps), max(high, rate_rps)
    return search.result(
        best, found=True, reason=reason, ended_early=gave_up is not None, estimate=estimate, between_rps=between_rps
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


async def _locate(
    search: LevelSearch, posterior: RatePosterior, at_most: Mapping[str, float], settings: Settings, beat_rps: float
) -> _Ended:
    """Holds open levels, at least one, until the rate is known and one level is near it, or time is up.

    The search also ends as soon as the rate to beat is out of reach, or once only a lower bound can be found.
    """
    late, first, shown = 0, posterior, list[LevelEvidence]()
    posterior = _predicted(search, first, shown, at_most, settings, posterior)
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
            background=background_of(search.levels),
        )
        search.add(level)
        if (its := shown_by(level, rule, search.levels)) is not None:
            shown.append(its)
        posterior = _predicted(search, first, shown, at_most, settings, posterior if its is None else rule.after)
        kept = _kept(search, at_most)
        # A level whose senders were the bottleneck says too little of the replica: it may be able to do more.
        its_own = not any(held.client_limited for held in search.levels if held.mode == "open")
        if kept and its_own and beat_rps and posterior.below(beat_rps) > BEATEN:
            return _Ended(posterior, gave_up=beaten(beat_rps))
        answers = [x for x in kept if _is_near(x, posterior, plan)]
        hopeless = rate_rps == posterior.floor_rps and level not in kept and posterior.at_floor(plan.rate_precision)
        only_bound = bool(answers) and _speaking(answers, posterior, plan).client_limited
        late += not search.has_time or (only_bound and search.spent_s > _BOUND_ONLY * search.total_s)
        located = answers and is_precise(posterior, plan.rate_precision)
        if hopeless or located or late > (0 if kept else LATE):
            return _Ended(posterior, only_bound=only_bound and search.has_time)


def _predicted(
    search: LevelSearch,
    first: RatePosterior,
    shown: Sequence[LevelEvidence],
    at_most: Mapping[str, float],
    settings: Settings,
    so_far: RatePosterior,
) -> RatePosterior:
    """The posterior after all levels so far, with the priors of a queue that knows their batches and requests.

    Args:
        search: the search.
        first: the posterior before any open level.
        shown: what these levels show.
        at_most: metric → largest value allowed.
        settings: the replica's settings.
        so_far: what is known of the rate, to simulate near it.
    """
    requests = [one.arrived for one in shown if one.arrived is not None]
    near_rps, arrivals = so_far.quantile(0.5), search.plan.arrivals
    return posterior_of(first, shown, predicted_rates(search.levels, settings, arrivals, at_most, near_rps, requests))


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
