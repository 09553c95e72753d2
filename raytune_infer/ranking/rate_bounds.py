"""Bounds on the highest rate of a configuration within limits, from the levels of its curve."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from operator import attrgetter

from raytune_infer.ranking.curve import in_order, middle
from raytune_infer.ranking.limits import Limits
from raytune_infer.ranking.trial_answer import TrialAnswer
from serve_deployments.measuring.predicting.estimating import on_log_line
from serve_deployments.measuring.rates.level_search import GROWTH
from serve_deployments.measuring.rates.peak_rate import TIE
from serve_deployments.measuring.rates.probe import SLOWEST
from serve_deployments.metrics.level_result import LevelResult, check_around, interval_around, interval_of


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
        interval_rps: 95 % interval of the rate, where the bounds come from the trials' own answers or from clients;
            that of an open level is of its arrivals, which says nothing about the replica.
        estimate_interval_rps: 95 % interval of `estimate_rps`, where it is known.

    Raises:
        ValueError: the bounds cross, the rate lies outside its interval, or the estimate or its interval outside the
            bounds.
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

    def __post_init__(self) -> None:
        low, high, estimate = self.at_least_rps, self.at_most_rps, self.estimate_rps
        if not 0 <= low <= high:
            raise ValueError(f"bounds need 0 <= at least <= at most, got {low} and {high}")
        if estimate is not None and not low <= estimate <= high:
            raise ValueError(f"an estimate between {low} and {high} is needed, got {estimate}")
        if (ends := self.estimate_interval_rps) is not None and not (
            estimate is not None and low <= ends[0] <= estimate <= ends[1] <= high
        ):
            raise ValueError(f"an interval around {estimate} between {low} and {high} is needed, got {ends}")
        check_around(low, self.interval_rps)

    @property
    def at_least_rps(self) -> float:
        """Lower bound in requests/s: the rate of `level`; 0 if there is none."""
        return 0.0 if self.level is None else self.level.rate_rps

    def with_estimate(self, rate_rps: float | None, interval_rps: tuple[float, float] | None = None) -> RateBounds:
        """Return the same bounds with an estimate, whose rate and interval are cut to what the bounds leave possible.

        Args:
            rate_rps: the estimated rate in requests/s; None for no estimate.
            interval_rps: its 95 % interval; None where it is not known.
        """
        if rate_rps is None:
            return replace(self, estimate_rps=None, estimate_interval_rps=None)
        low, high = (None, None) if interval_rps is None else map(self._within, interval_rps)
        return replace(self, estimate_rps=self._within(rate_rps), estimate_interval_rps=interval_of(low, high))

    def _within(self, rate_rps: float) -> float:
        return min(max(rate_rps, self.at_least_rps), self.at_most_rps)


def arrivals_within(
    levels: Sequence[LevelResult], limits: Limits, precision: float, answers: Sequence[TrialAnswer] = ()
) -> RateBounds:
    """Bound the highest rate of open-loop arrivals within limits.

    Open levels decide. A closed level says less: closed-loop clients never queue as deep as random arrivals at the same
    rate. So a closed level that kept the limits is not a lower bound, only a hint; one that broke them at a higher rate
    than any open level kept is an upper bound. The rate that more clients no longer raised is an upper bound too: the
    replica cannot do more.

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
    at_least = 0.0 if level is None else level.rate_rps
    at_most = min(math.inf if broke is None else broke.asked, _most_by_clients(closed, limits, above_rps=at_least))
    at_most = max(at_most, at_least)
    if level is not None and broke is not None and close(level.asked, broke.asked, precision):
        return RateBounds(level, at_most, True, contradicted=contradicted)
    at_most = max(at_most, *(at.rate_rps for at in told[cut:] if limits.kept(at)), 0.0)
    known = RateBounds(level, at_most, False, alone=alone, contradicted=contradicted)
    if level is None or broke is None:
        return known
    return known.with_estimate(_crossing((level.asked, level), (broke.asked, broke), limits))


def _answered(own: Sequence[TrialAnswer]) -> RateBounds:
    """Bounds from the trials' own answers; of several answers the one with the median rate.

    A trial that ended early knows that it lost, but not its rate. It is used only if there is no other: its level kept
    the limits, and the rate lies somewhere in the trial's interval.
    """
    whole = [answer.at_its_rate for answer in own if not answer.ended_early]
    answer = middle(whole or own, attrgetter("level.rate_rps"))
    level, interval_rps = answer.level, answer.interval_rps
    limited = any(one.client_limited for one in own)
    if whole or interval_rps is None:
        at_most = math.inf if limited else level.rate_rps
        return RateBounds(level, at_most, not limited, client_limited=limited, interval_rps=interval_rps)
    at_most = math.inf if limited else max(interval_rps[1], level.rate_rps)
    return RateBounds(level, at_most, False, client_limited=limited).with_estimate(answer.rate_rps)


def _most_by_clients(closed: Sequence[LevelResult], limits: Limits, *, above_rps: float) -> float:
    """Upper bound on the rate of open-loop arrivals from closed levels; infinity if they give none.

    Args:
        closed: closed levels in the order of their clients.
        limits: the limits to keep.
        above_rps: a rate at which arrivals kept the limits, so that no bound below it is true.
    """
    bounds = [capacity_rps(closed)]
    broke = list(takewhile(lambda level: limits.kept(level) is not True, reversed(closed)))
    if not any(level.client_limited for level in closed):
        # Of all up to each, as fewer clients may have had the higher rate: a looser limit never gives a lower bound.
        up_to = [level.asked for level in broke if limits.kept(level) is False]
        bounds += [max(level.rate_rps for level in closed if level.asked <= asked) for asked in up_to]
    return min((rps for rps in bounds if rps > above_rps), default=math.inf)


def capacity_rps(closed: Sequence[LevelResult]) -> float:
    """Return what the replica can do at most, whatever the limits: what more clients no longer raised.

    Args:
        closed: closed levels in the order of their clients.

    Returns:
        The rate in requests/s; infinity if these levels do not show it, or show what the load generator can do.
    """
    if any(level.client_limited for level in closed):
        return math.inf
    if len(closed) > 1 and closed[-1].rate_rps <= GROWTH * closed[-2].rate_rps:
        return GROWTH * max(level.rate_rps for level in closed)
    return math.inf


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
        resolved = level is not None and close(level.rate_rps, at_most, precision)
    limited = any(at.client_limited for at in told if level is None or at.asked >= level.asked)
    if limited and at_most > 0:
        resolved, at_most = False, math.inf
    limited = limited and at_most > 0
    interval_rps = None if level is None else interval_around(level.rate_rps, level.rate_low_rps, level.rate_high_rps)
    known = RateBounds(
        level, at_most, resolved, clients=clients, contradicted=contradicted, client_limited=limited,
        interval_rps=interval_rps,
    )  # fmt: skip
    if limited:
        return known
    if resolved or not kept or broke is None:
        return known
    return known.with_estimate(_crossing((kept[-1].rate_rps, kept[-1]), (broke.rate_rps, broke), limits))


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


def close(low: float, high: float, precision: float) -> bool:
    """Return whether two rates are within a precision of one another, so that a load test would stop between them."""
    return high <= low * (1 + precision) * (1 + 1e-9)
