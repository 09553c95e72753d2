"""Bounds on the highest rate of a configuration within limits, from the levels of its curve."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from scipy.special import bdtrc

from raytune_infer.ranking.curve import in_order, middle
from raytune_infer.ranking.trial_answer import TrialAnswer
from serve_deployments.measuring.predicting.estimating import on_log_line
from serve_deployments.measuring.rates.level_search import GROWTH
from serve_deployments.measuring.rates.peak_rate import TIE
from serve_deployments.measuring.rates.probe import SLOWEST
from serve_deployments.measuring.slo import LOST_TAIL, tightest_ms
from serve_deployments.metrics.level_result import LevelResult
from serve_deployments.metrics.metric_table import metric_of

_CHANCE = 0.05  # the convention


@dataclass(frozen=True)
class Limits:
    """Limits on a load level, and the limits under which the run's load tests measured the levels.

    Args:
        at_most: metric → largest value allowed: latencies in ms and `error_rate`.
        held_under: the run's own limits, in the same form.
    """

    at_most: Mapping[str, float]
    held_under: Mapping[str, float] = field(default_factory=dict)

    def kept(self, level: LevelResult) -> bool | None:
        """Whether a level kept the limits; None if it does not decide."""
        if level.overloaded:
            return None if self._was_stopped_early and not level.fell_behind else False
        if self.kept_in_its_answers(level):
            return None if any(self._too_few(level, name) for name in self.at_most) else True
        return None if all(self.keeps(level, name) or self._by_chance(level, name) for name in self.at_most) else False

    def kept_in_its_answers(self, level: LevelResult) -> bool:
        """Whether a level's own figures are within the limits, however few answers they rest on."""
        return not level.overloaded and all(self.keeps(level, name) for name in self.at_most)

    def _too_few(self, level: LevelResult, name: str) -> bool:
        """Whether an open level has too few answers for a percentile: below 100, the p99 is merely their maximum."""
        share = _share_above(name)
        return level.mode == "open" and bool(share) and 0 < level.completed < 1 / share - 1e-9

    def _by_chance(self, level: LevelResult, name: str) -> bool:
        """Whether a level may have broken a percentile's limit by chance, in a binomial test at the 5 % level.

        A level that a search left early has few answers: its p99 may be the largest of twenty.
        """
        share, above = _share_above(name), level.above(name, self.at_most[name])
        if not share or above is None or not level.completed:
            return False
        return bool(bdtrc(above - 1, level.completed, share) > _CHANCE)

    @property
    def unchanged(self) -> bool:
        """Whether these are the limits under which the levels were measured."""
        return dict(self.at_most) == dict(self.held_under)

    @property
    def of_the_run(self) -> Limits:
        """The limits under which the levels were measured."""
        return Limits(self.held_under, self.held_under)

    @property
    def tighter(self) -> bool:
        """Whether whatever keeps these limits keeps the run's."""
        return all(self.at_most.get(name, math.inf) <= limit for name, limit in self.held_under.items())

    @property
    def looser(self) -> bool:
        """Whether whatever keeps the run's limits keeps these."""
        return all(self.held_under.get(name, math.inf) <= limit for name, limit in self.at_most.items())

    @property
    def loosened(self) -> Limits:
        """The run's limits as far as these have them, each at the looser of both: whatever keeps these keeps them."""
        loose = {n: max(limit, self.held_under[n]) for n, limit in self.at_most.items() if n in self.held_under}
        return Limits(loose, self.held_under)

    def keeps(self, level: LevelResult, name: str) -> bool:
        """Whether a level kept the limit on one metric; a metric without a value does not."""
        value = level.value(name)
        return value is not None and value <= self.at_most[name]

    @property
    def _was_stopped_early(self) -> bool:
        """Whether a level that was stopped under the run's limits says nothing about these, which are much looser.

        It had at least `LOST_TAIL` × rate × limit requests in flight. By Little's law its mean latency was above any
        limit up to `LOST_TAIL` times the run's.
        """
        return tightest_ms(self.at_most) > LOST_TAIL * tightest_ms(self.held_under)


@dataclass(frozen=True)
class RateBounds:
    """Bounds on the highest rate at which a configuration keeps its limits.

    Args:
        level: the highest level that kept the limits; None if none did.
        at_most_rps: upper bound in requests/s, from which on the limits are broken; infinity if no level gives one,
            0 if no rate keeps the limits.
        resolved: whether the lower and the upper bound are within the run's precision, so that a new trial would find
            nothing new.
        estimate_rps: estimated rate at which the first limit is crossed; None where there is no estimate.
        clients: for closed levels, the numbers of clients that kept and that broke the limits; None for open levels.
        alone: where no open level kept the limits, the closed level with the highest rate that did, as a hint.
        contradicted: number of levels that contradict the bounds: broken below `level`, or kept above the lowest
            broken one.
        client_limited: whether the load generator was the bottleneck at or above `level`.
        interval_rps: 95 % interval of the rate, where the bounds come from the trials' own answers.
        estimate_interval_rps: 95 % interval of `estimate_rps`, where it is known.
    """

    level: LevelResult | None
    at_most_rps: float
    resolved: bool
    estimate_rps: float | None = None
    clients: tuple[int | None, int | None] | None = None
    alone: LevelResult | None = None
    contradicted: int = 0
    client_limited: bool = False
    interval_rps: tuple[float, float] | None = None
    estimate_interval_rps: tuple[float, float] | None = None

    @property
    def at_least_rps(self) -> float:
        """Lower bound in requests/s: the rate of `level`; 0 if there is none."""
        return 0.0 if self.level is None else self.level.rate_rps


def arrivals_within(
    levels: Sequence[LevelResult], limits: Limits, precision: float, answers: Sequence[TrialAnswer] = ()
) -> RateBounds:
    """Bound the highest rate of open-loop arrivals within limits.

    Open levels decide. A closed level says less: closed-loop clients never queue as deep as random arrivals at the same
    rate. So a closed level that kept the limits is not a lower bound, only a hint; one that broke them at a higher rate
    than any open level kept is an upper bound, used where open levels give none or where none kept them. The rate that
    more clients no longer raised is an upper bound too: the replica cannot do more.

    Under the run's own limits the trials' own answers are used; see `_answered`.

    Args:
        levels: levels of one configuration, from all its trials.
        limits: the limits to keep.
        precision: relative distance between a rate that keeps the limits and one that breaks them, at which a load test
            stops.
        answers: answers of the trials that have one.
    """
    # All of them: to leave out those that rest on few answers would leave out the slow ones.
    if limits.unchanged and (own := [answer for answer in answers if limits.kept_in_its_answers(answer.level)]):
        return _answered(own)
    told, cut, contradicted = _split(in_order(levels, "open"), limits)
    level = told[cut - 1] if cut else None
    broke = told[cut] if cut < len(told) else None
    closed = in_order(levels, "closed")
    if level is None and not contradicted and _hopeless(broke, closed, limits, precision):
        return RateBounds(None, 0.0, True)
    hints = [at for at in closed if limits.kept(at)] if level is None else []
    alone = max(hints, key=lambda at: at.rate_rps, default=None)
    if any(at.client_limited for at in told[max(0, cut - 1) :]):
        return RateBounds(level, math.inf, False, alone=alone, contradicted=contradicted, client_limited=True)
    at_most = math.inf if broke is None else broke.asked
    if level is None or broke is None:
        at_most = min(at_most, _most_by_clients(closed, limits, above_rps=0.0 if level is None else level.rate_rps))
    if level is not None and broke is not None:
        if _close(level.asked, broke.asked, precision):
            return RateBounds(level, at_most, True, contradicted=contradicted)
        crossing = _crossing((level.asked, level), (broke.asked, broke), limits)
    else:
        crossing = None
    at_most = max(at_most, *(at.rate_rps for at in told[cut:] if limits.kept(at)), 0.0)
    return RateBounds(level, at_most, False, crossing, alone=alone, contradicted=contradicted)


def _answered(own: Sequence[TrialAnswer]) -> RateBounds:
    """Bounds from the trials' own answers; of several answers the one with the median rate.

    A trial that ended early knows that it lost, but not its rate. It is used only if there is no other: its level kept
    the limits, and the rate lies somewhere in the trial's interval.
    """
    whole = [answer.at_its_rate for answer in own if not answer.ended_early]
    answer = middle(whole or own, attrgetter("level.rate_rps"))
    level, interval_rps = answer.level, answer.interval_rps
    limited = any(one.level.client_limited for one in own)
    if whole or interval_rps is None:
        at_most = math.inf if limited else level.rate_rps
        return RateBounds(level, at_most, not limited, client_limited=limited, interval_rps=interval_rps)
    at_most = math.inf if limited else max(interval_rps[1], level.rate_rps)
    return RateBounds(level, at_most, False, answer.rate_rps, client_limited=limited)


def _most_by_clients(closed: Sequence[LevelResult], limits: Limits, *, above_rps: float) -> float:
    """Upper bound on the rate of open-loop arrivals from closed levels; infinity if they give none."""
    told, cut, contradicted = _split(closed, limits)
    bounds = [told[cut].rate_rps] if cut < len(told) and not contradicted else []
    if len(closed) > 1 and closed[-1].rate_rps <= GROWTH * closed[-2].rate_rps:
        bounds.append(GROWTH * max(level.rate_rps for level in closed))
    return min((rps for rps in bounds if rps > above_rps), default=math.inf)


def clients_within(levels: Sequence[LevelResult], limits: Limits, precision: float) -> RateBounds:
    """Bound the highest rate of closed-loop clients within limits, which a run with `find: peak` measures.

    Levels are in the order of their number of clients. Without limits the highest rate is the peak, known once more
    clients no longer raise it. Random arrivals at that rate queue longer, so for them it is only an upper estimate.

    Args:
        levels: levels of one configuration, from all its trials.
        limits: the limits to keep.
        precision: relative distance between a rate that keeps the limits and one that breaks them, at which a load test
            stops.
    """
    told, cut, contradicted = _split(in_order(levels, "closed"), limits)
    kept = [level for level in told[:cut] if limits.kept(level)]
    highest = max((level.rate_rps for level in kept), default=0.0)
    level = next((level for level in kept if level.rate_rps >= TIE * highest), None)
    broke = told[cut] if cut < len(told) else None
    clients = (int(kept[-1].asked) if kept else None, int(broke.asked) if broke else None)
    if broke is None:
        resolved = level is not None and _flat(told)
        at_most = highest if resolved else math.inf
    elif level is None and broke.asked <= 1 and not contradicted:
        resolved, at_most = True, 0.0  # one client alone broke them, and there is no lighter load
    else:
        at_most = max(broke.rate_rps, highest, *(at.rate_rps for at in told[cut:] if limits.kept(at)))
        resolved = level is not None and _close(level.rate_rps, at_most, precision)
    limited = any(at.client_limited for at in told if level is None or at.asked >= level.asked)
    if limited and at_most > 0:
        return RateBounds(level, math.inf, False, clients=clients, contradicted=contradicted, client_limited=True)
    estimate = None
    if not resolved and kept and broke is not None:
        estimate = _crossing((kept[-1].rate_rps, kept[-1]), (broke.rate_rps, broke), limits)
    return RateBounds(level, at_most, resolved, estimate, clients, contradicted=contradicted)


def _split(levels: Sequence[LevelResult], limits: Limits) -> tuple[list[LevelResult], int, int]:
    """Find the cut at which levels in ascending order stop keeping the limits.

    The cut is the one that the fewest levels contradict, by breaking the limits below it or keeping them above it; of
    several the lowest, so that a single level that kept the limits above a broken one (chance) does not count.

    Returns:
        The levels that decide, how many of them are below the cut, and how many contradict it.
    """
    told = [(level, kept) for level in levels if (kept := limits.kept(level)) is not None]
    against = [
        sum(not kept for _, kept in told[:cut]) + sum(kept for _, kept in told[cut:]) for cut in range(len(told) + 1)
    ]
    cut = against.index(min(against))
    return [level for level, _ in told], cut, against[cut]


def _crossing(kept: tuple[float, LevelResult], broke: tuple[float, LevelResult], limits: Limits) -> float | None:
    """Estimate the rate at which the first limit is crossed, by linear interpolation of log latency over log rate.

    Our choice: queueing makes latency convex in the rate, so the line lies above the curve and crosses the limit too
    early rather than too late. None if a level was overloaded, or a value is missing or 0.
    """
    (low_rps, below), (high_rps, above) = kept, broke
    if above.overloaded or not 0 < low_rps < high_rps:
        return None
    crossings = []
    for name, limit in limits.at_most.items():
        low, high = below.value(name), above.value(name)
        if low and high and low <= limit < high:
            crossings.append(on_log_line(limit, (low, low_rps), (high, high_rps)))
    return min(crossings, default=None)


def _hopeless(broke: LevelResult | None, closed: Sequence[LevelResult], limits: Limits, precision: float) -> bool:
    """Whether no load is light enough: no closed level kept the limits, or no lower rate would be tried."""
    alone = next((level for level in closed if level.asked == 1), None)
    if alone is None:
        return False
    if broke is None:
        return all(limits.kept(level) is False for level in closed)
    return broke.asked <= SLOWEST * alone.rate_rps * (1 + precision)


def _flat(levels: Sequence[LevelResult]) -> bool:
    """Whether the last two levels raised the rate by no more than the factor `GROWTH`."""
    rates = [level.rate_rps for level in levels]
    return len(rates) > 2 and max(rates[-2:]) <= GROWTH * max(rates[:-2])


def _close(low: float, high: float, precision: float) -> bool:
    return high <= low * (1 + precision) * (1 + 1e-9)


def _share_above(name: str) -> float:
    """Share of requests above a percentile; 0 for a metric that is not a percentile."""
    metric = metric_of(name)
    return (metric.share_above if metric else None) or 0.0
