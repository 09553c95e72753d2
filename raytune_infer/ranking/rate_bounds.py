"""The highest rate within limits, as far as the levels of a curve tell, and where they do not."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from scipy.special import bdtrc

from raytune_infer.ranking.curve import in_order, middle
from raytune_infer.ranking.trial_answer import TrialAnswer
from serve_deployments.measuring.highest_rate import SLOWEST
from serve_deployments.measuring.level_search import GROWTH
from serve_deployments.measuring.peak_rate import TIE
from serve_deployments.measuring.predicting.estimating import on_log_line
from serve_deployments.measuring.slo import LOST_TAIL, tightest_ms
from serve_deployments.metrics.level_result import LevelResult
from serve_deployments.metrics.metric_table import metric_of

_CHANCE = 0.05  # the convention


@dataclass(frozen=True)
class Limits:
    """Limits on a load, and those under which the levels were held.

    Args:
        at_most: metric → largest value allowed: latencies in ms and `error_rate`.
        held_under: the run's own limits of that kind.
    """

    at_most: Mapping[str, float]
    held_under: Mapping[str, float] = field(default_factory=dict)

    def kept(self, level: LevelResult) -> bool | None:
        """Whether a level kept them; None if it does not tell."""
        if level.overloaded:
            return None if self._was_stopped_early and not level.fell_behind else False
        if all(self.keeps(level, name) for name in self.at_most):
            return None if any(self._too_few(level, name) for name in self.at_most) else True
        return None if all(self.keeps(level, name) or self._by_chance(level, name) for name in self.at_most) else False

    def _too_few(self, level: LevelResult, name: str) -> bool:
        """Whether a percentile of chance arrivals is only the largest of the answers: of fewer than 100 the p99 is."""
        share = _share_above(name)
        return level.mode == "open" and bool(share) and 0 < level.completed < 1 / share - 1e-9

    def _by_chance(self, level: LevelResult, name: str) -> bool:
        """Whether so many answers above a percentile's limit are no wonder (5 %) though the percentile keeps it.

        A level that a search left early has few: its p99 may be the largest of twenty.
        """
        share, above = _share_above(name), level.above(name, self.at_most[name])
        if not share or above is None or not level.completed:
            return False
        return bool(bdtrc(above - 1, level.completed, share) > _CHANCE)

    @property
    def unchanged(self) -> bool:
        """Whether these are the limits that the levels were held under."""
        return dict(self.at_most) == dict(self.held_under)

    def keeps(self, level: LevelResult, name: str) -> bool:
        """Whether a level kept one of the limits; a metric without a value keeps none."""
        value = level.value(name)
        return value is not None and value <= self.at_most[name]

    @property
    def _was_stopped_early(self) -> bool:
        """Whether a level that was stopped for the run's limits says nothing of these, which are so much looser.

        It had `LOST_TAIL` times rate x limit in flight or more. By Little's law its mean latency was above any limit
        up to so many times the run's.
        """
        return tightest_ms(self.at_most) > LOST_TAIL * tightest_ms(self.held_under)


@dataclass(frozen=True)
class RateBounds:
    """What is known of the highest rate at which a configuration keeps its limits.

    Args:
        level: the highest level that kept them; None if none did.
        at_most_rps: no rate from here on keeps them; infinity if no level says so, 0 if none ever does.
        resolved: the two are as close as the run's own precision, so a new trial would find nothing new.
        estimate_rps: where the first limit is probably crossed; None where nothing says so.
        clients: of those levels, how many clients kept and broke them, in place of arrivals; None: arrivals.
        alone: where no arrivals kept them, the closed level that did at the highest rate: a hint where to look.
        contradicted: levels that say otherwise: broken below `level`, or kept above the lowest broken one.
        client_limited: the load side was the bottleneck at or above `level`.
        interval_rps: 95 % interval of the rate, where the trials' own answers stand.
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

    @property
    def at_least_rps(self) -> float:
        """The rate at which they were kept; 0 if none."""
        return 0.0 if self.level is None else self.level.rate_rps


def arrivals_within(
    levels: Sequence[LevelResult], limits: Limits, precision: float, answers: Sequence[TrialAnswer] = ()
) -> RateBounds:
    """The highest rate of arrivals within limits.

    Open levels decide. A closed level says less: clients that wait for their answer never queue as deep as
    random arrivals at the same rate. So one that kept the limits is no lower bound, only a hint; one that broke
    them at a higher rate than any open level kept is an upper bound, used where open levels give none or where
    none kept them. So is the rate that more clients no longer raised: the replica cannot do more.

    Under the run's own limits the trials' own answers stand; see `_answered`.

    Args:
        levels: of one configuration, of all its trials.
        limits: to be kept.
        precision: how far apart, relatively, a rate that keeps them and one that breaks them are left.
        answers: of those trials that have one.
    """
    if limits.unchanged and (own := [answer for answer in answers if limits.kept(answer.level)]):
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
    """What trials have said themselves, by the levels that stand for them; of several the middle one.

    A trial that ended early knew enough to lose, not what the rate is. It is asked only where no other is: the level
    kept the limits, and the rate is somewhere in the trial's interval.
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
    """What closed levels say of the highest rate that arrivals can have; infinity if nothing."""
    told, cut, contradicted = _split(closed, limits)
    bounds = [told[cut].rate_rps] if cut < len(told) and not contradicted else []
    if len(closed) > 1 and closed[-1].rate_rps <= GROWTH * closed[-2].rate_rps:
        bounds.append(GROWTH * max(level.rate_rps for level in closed))
    return min((rps for rps in bounds if rps > above_rps), default=math.inf)


def clients_within(levels: Sequence[LevelResult], limits: Limits, precision: float) -> RateBounds:
    """The highest rate of clients that wait for their answer: what a run that looks for the peak has measured.

    Levels are in the order of their clients. Without limits it is the peak, known once more clients bring no
    more. Random arrivals at that rate queue longer, so of those it is an upper estimate only.

    Args:
        levels: of one configuration, of all its trials.
        limits: to be kept.
        precision: how far apart, relatively, a rate that keeps them and one that breaks them are left.
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
        resolved, at_most = True, 0.0  # not even one client alone: there is no lighter load
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
    """Where levels in ascending order stop keeping the limits.

    The cut is the one that fewest levels contradict, by being broken below it or kept above it; of several the
    lowest, so that one level kept above one broken (chance) is not believed.

    Returns:
        The levels that tell, how many of them are below the cut, and how many contradict it.
    """
    told = [(level, kept) for level in levels if (kept := limits.kept(level)) is not None]
    against = [
        sum(not kept for _, kept in told[:cut]) + sum(kept for _, kept in told[cut:]) for cut in range(len(told) + 1)
    ]
    cut = against.index(min(against))
    return [level for level, _ in told], cut, against[cut]


def _crossing(kept: tuple[float, LevelResult], broke: tuple[float, LevelResult], limits: Limits) -> float | None:
    """The rate at which the first limit is crossed, on straight lines of log latency over log rate.

    Our choice: queueing makes latency convex in the rate, so that the line lies above the curve and crosses
    the limit too early rather than too late. None where a level was overloaded, or a value is missing or 0.
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
    """No load is light enough: no number of clients kept the limits, or none is left that would be tried."""
    alone = next((level for level in closed if level.asked == 1), None)
    if alone is None:
        return False
    if broke is None:
        return all(limits.kept(level) is False for level in closed)
    return broke.asked <= SLOWEST * alone.rate_rps * (1 + precision)


def _flat(levels: Sequence[LevelResult]) -> bool:
    """Two more steps brought no more."""
    rates = [level.rate_rps for level in levels]
    return len(rates) > 2 and max(rates[-2:]) <= GROWTH * max(rates[:-2])


def _close(low: float, high: float, precision: float) -> bool:
    return high <= low * (1 + precision) * (1 + 1e-9)


def _share_above(name: str) -> float:
    """Of requests, those above a percentile; 0 of what is none."""
    metric = metric_of(name)
    return (metric.share_above if metric else None) or 0.0
