"""When does a level end? Rules that look at what has happened so far, and say what it shows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import numpy as np

from serve_deployments.load.events import Events, Span
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.measuring.statistics import interval
from serve_deployments.measuring.statistics.interval import BATCHES, COARSE, FEWEST, MeanEstimate
from serve_deployments.measuring.statistics.limit_verdict import all_kept, most_above

_KEPT_UP = 0.95  # share of what was due that a server must answer not to be overloaded
_GROWING_T = 3.0  # standard errors of a drift that end a level: looked at some 30 times, by chance in 1 of 100
_GREW_T = 2.0  # looked at once, when the level is over
_LOST = 0.9  # share of recent requests that is no accident, whatever the limit is on (our choice)

BEATEN = 0.99
"""Confidence that a rate is too low to go on: looked at often, so above 95 %."""


@dataclass(frozen=True)
class LevelStatus:
    """What a level shows so far.

    Args:
        span: what counts of it: warm-up is left out.
        estimate: its rate; None while there is too little for an interval.
        sure: the level's question is answered with the confidence and precision asked for.
        overloaded: its queue only grows.
        beaten: its rate is below what was to be beaten.
        left: a level of another rate would tell more.
    """

    span: Span
    estimate: MeanEstimate | None
    sure: bool = False
    overloaded: bool = False
    beaten: bool = False
    left: bool = False

    @property
    def over(self) -> bool:
        """There is no need to go on."""
        return self.sure or self.overloaded or self.beaten or self.left


class StoppingRule(Protocol):
    """Decides when a level ends; from events alone, so that it matters not where they come from.

    `check_after`: it is asked again once so many more requests have ended, relative.
    """

    check_after: ClassVar[float]

    def check(self, events: Events, *, last: bool = False) -> LevelStatus | None:
        """What the level shows so far, `last` when it is over anyway; None while nothing can be said."""
        ...


@dataclass(frozen=True)
class UntilPrecise:
    """A closed level ends when the 95 % interval of its rate is narrow enough.

    Looked at again and again, an interval of a width that was fixed beforehand keeps its coverage (Chow and
    Robbins, Annals of Mathematical Statistics 36, 1965), unless it is believed too early: hence the least
    number of batches, and `level_min_s`.

    Args:
        plan: precision and bounds.
        beat_rps: ends too when the rate is surely below this.
    """

    plan: LoadPlan
    beat_rps: float = 0.0
    check_after: ClassVar[float] = 0.25  # a look is a chance to stop by luck; with 0.02 coverage is up to 1 % less

    def check(self, events: Events, *, last: bool = False) -> LevelStatus | None:
        """See `StoppingRule`."""
        turned, span = events.turned_over, _turned_over(events, last)
        if span is None:
            return None
        if span.duration_s < self.plan.level_min_s and not last:
            return LevelStatus(span, None)
        times_s, _ = _with_start(span)
        fine = interval.cuts(times_s, BATCHES)
        if fine.size <= FEWEST:
            return LevelStatus(span, None)
        rates = np.diff(fine) / np.diff(times_s[fine])
        warm = int(fine[interval.warm_from(rates)])
        measured = events.span(turned + warm, turned + int(fine[-1]))
        estimate = interval.rate(*_with_start(measured))
        if estimate is None:
            return LevelStatus(span, None)
        enough = measured.duration_s >= self.plan.level_min_s - 1e-9
        return LevelStatus(
            measured,
            estimate,
            sure=enough and estimate.within(self.plan.precision),
            beaten=self.beat_rps > 0 and estimate.bounds(BEATEN)[1] < self.beat_rps,
        )


@dataclass(frozen=True)
class UntilSeen:
    """A closed level ends once each client was answered after the warm-up, or so: enough to know where to look.

    Args:
        least_s: it is measured for no less.
    """

    least_s: float
    check_after: ClassVar[float] = 0.0

    def check(self, events: Events, *, last: bool = False) -> LevelStatus | None:
        """See `StoppingRule`."""
        turned, span = events.turned_over, _turned_over(events, last)
        if span is None:
            return None
        return LevelStatus(span, None, sure=span.ended_s.size >= turned and span.duration_s >= self.least_s)


def _turned_over(events: Events, last: bool) -> Span | None:
    """What counts of a closed level: from when each client was answered once; None while that is nothing.

    The end of one burst, when the level is over, is nothing either: it has no rate of its own.
    """
    turned = events.turned_over
    if not turned or events.count == turned:
        return None
    span = events.span(turned)
    return None if last and span.ended_s.size < turned else span


def _with_start(span: Span) -> tuple[np.ndarray, np.ndarray]:
    """Times and counts of the answers, the span's start as the first, which counts nothing."""
    return np.concatenate([[span.start_s], span.ended_s]), np.concatenate([[0.0], span.answered.astype(float)])


@dataclass(frozen=True)
class UntilKnown:
    """An open level ends when it is known whether it keeps the limits; without any, when its mean latency is.

    Args:
        plan: precision and bounds.
        rate_rps: mean rate of arrivals.
        at_most: metric → largest value allowed.
    """

    plan: LoadPlan
    rate_rps: float
    at_most: Mapping[str, float] = field(default_factory=dict)
    check_after: ClassVar[float] = 0.1  # the test may be looked at any time; so it costs little however long it takes

    def check(self, events: Events, *, last: bool = False) -> LevelStatus | None:
        """See `StoppingRule`."""
        turned = events.turned_over
        span = events.span(turned)
        if not turned or not span.ended_s.size:
            return None
        estimate = interval.rate(*_with_start(span))
        grows, overloaded = self._queue(span, _GREW_T if last else _GROWING_T)
        overloaded = overloaded or (last and self._piled_up(span))
        verdict = False if grows and self._lost(span) else self._verdict(span)
        long_enough = span.duration_s >= self.plan.level_min_s - 1e-9
        sure = verdict is False or (verdict is True and long_enough)
        return LevelStatus(span, estimate, sure=sure, overloaded=overloaded)

    def _lost(self, span: Span) -> bool:
        """Nearly all of the last third break a limit on latency: with a queue that grows, so will those to come."""
        return most_above(self.at_most, span.requests.last(len(span.requests) // 3)) > _LOST

    def _verdict(self, span: Span) -> bool | None:
        if self.at_most:
            return all_kept(self.at_most, span.requests, self.plan.precision)
        latency = interval.mean(span.requests.latency_s[span.answered])
        return True if latency is not None and latency.within(self.plan.precision) else None

    def _queue(self, span: Span, t: float) -> tuple[bool, bool]:
        """Whether requests in flight and latency both rise, by `t` standard errors of their drift; and by how much.

        Overloaded is a server whose queue grows by more than 5 % of the arrivals, beyond what chance adds to
        their number: `t` / 2 of its standard deviations.
        """
        at = interval.cuts(span.ended_s, COARSE)
        if at.size - 1 < FEWEST:
            return False, False
        lengths = np.diff(at)
        queue = np.add.reduceat(span.in_flight[: at[-1]], at[:-1]) / lengths
        latency = np.add.reduceat(np.nan_to_num(span.requests.latency_s)[: at[-1]], at[:-1]) / lengths
        slopes = [interval.drift(queue)] + ([interval.drift(latency)] if span.answered.any() else [])
        if not all(slope > t * error for slope, error in slopes):
            return False, False
        arrived = self.rate_rps * (span.ended_s[at[-1]] - span.ended_s[at[0]])
        return True, bool(queue[-1] - queue[0] > self._tolerated(arrived, t))

    def _piled_up(self, span: Span) -> bool:
        """Of a level that was too short for a trend: its queue is longer at the end by more than is tolerated."""
        grown = span.in_flight[-1] - span.in_flight[0]
        few = interval.cuts(span.ended_s, COARSE).size - 1 < FEWEST
        return bool(few and grown > self._tolerated(self.rate_rps * span.duration_s, _GREW_T))

    def _tolerated(self, arrived: float, t: float) -> float:
        # A count of n arrivals has the standard deviation cv sqrt(n), if their gaps are independent.
        return (1 - _KEPT_UP) * arrived + t / 2 * self.plan.arrivals.cv * math.sqrt(arrived)
