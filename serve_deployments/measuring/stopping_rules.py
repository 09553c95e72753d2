"""Stopping rules: they evaluate the events of a level so far and decide when it ends."""

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

_KEPT_UP = 0.95  # share of the due requests that a server must answer not to be overloaded
_GROWING_T = 3.0  # drift in standard errors that ends a level: checked some 30 times, by chance in 1 level of 100
_GREW_T = 2.0  # the same when the level is over, where it is checked once
_LOST = 0.9  # share of recent requests above a limit that is no accident, whatever the limit is on (our choice)

BEATEN = 0.99
"""Confidence that the rate to beat is out of reach at which a search ends: checked often, so above 95 %."""


@dataclass(frozen=True)
class LevelStatus:
    """The state of a level so far, as its stopping rule sees it.

    Args:
        span: the measured part of the level, without warm-up.
        estimate: its rate; None while there is too little for an interval.
        sure: whether the level's question is answered with the requested confidence and precision.
        overloaded: whether its queue only grows.
        beaten: whether its rate is below the rate to beat.
        left: whether a level of another rate would tell more.
    """

    span: Span
    estimate: MeanEstimate | None
    sure: bool = False
    overloaded: bool = False
    beaten: bool = False
    left: bool = False

    @property
    def over(self) -> bool:
        """Whether the level can end."""
        return self.sure or self.overloaded or self.beaten or self.left


class StoppingRule(Protocol):
    """Decides when a level ends, from its events alone, whichever process sent the load.

    `check_after`: it is checked again once this fraction more requests have ended.
    """

    check_after: ClassVar[float]

    def check(self, events: Events, *, last: bool = False) -> LevelStatus | None:
        """The level's status so far; None while nothing can be said.

        Args:
            events: the level's events.
            last: whether the level is over anyway.
        """
        ...

    def has_enough(self, events: Events) -> bool:
        """Whether the events so far tell something of the server: a level at its longest may then end."""
        ...


@dataclass(frozen=True)
class UntilPrecise:
    """Ends a closed level when the 95 % interval of its rate is narrow enough.

    Although checked repeatedly, an interval whose width was fixed beforehand keeps its coverage (Chow and Robbins,
    Annals of Mathematical Statistics 36, 1965), unless it is accepted too early: hence the minimum number of batches,
    and `level_min_s`.

    Args:
        plan: precision and bounds.
        beat_rps: also ends when the rate is almost certainly below this; 0: never.
    """

    plan: LoadPlan
    beat_rps: float = 0.0
    check_after: ClassVar[float] = 0.25  # each check may stop by luck; with 0.02 the coverage is up to 1 % less

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
            return LevelStatus(_from_pause(events, turned), None)
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

    def has_enough(self, events: Events) -> bool:
        """Whether the rate has an interval; or whether nothing is answered, which takes no more time to see."""
        status = self.check(events, last=True)
        return status is not None and (status.estimate is not None or not status.span.answered.any())


@dataclass(frozen=True)
class UntilSeen:
    """Ends a closed level once about one answer per client came after the warm-up: enough to know where to look.

    Args:
        least_s: minimum measured time in seconds.
        least: minimum number of requests that have ended.
    """

    least_s: float
    least: int = 0
    check_after: ClassVar[float] = 0.0

    def check(self, events: Events, *, last: bool = False) -> LevelStatus | None:
        """See `StoppingRule`."""
        turned, span = events.turned_over, _turned_over(events, last)
        if span is None:
            return None
        seen = span.ended_s.size >= turned and events.count >= self.least
        return LevelStatus(_from_pause(events, turned), None, sure=seen and span.duration_s >= self.least_s)

    def has_enough(self, events: Events) -> bool:
        """Whether each client was answered once after the warm-up."""
        return self.check(events, last=True) is not None and events.count >= self.least


def _turned_over(events: Events, last: bool) -> Span | None:
    """The measured span of a closed level, from when each client was answered once; None while it is empty.

    Also None if the level is over and fewer answers than clients followed: part of one burst has no rate of its own.
    """
    turned = events.turned_over
    if not turned or events.count == turned:
        return None
    span = events.span(turned)
    return None if last and span.ended_s.size < turned else span


def _from_pause(events: Events, first: int) -> Span:
    """The span from the end of the burst that request number `first` ended in: its few bursts are counted whole.

    A pause between bursts is at least half as long as the longest. If no later burst followed, it is the whole level.
    """
    ended_s = events.span().ended_s
    gaps = np.diff(ended_s)
    pauses = np.flatnonzero(gaps[first - 1 :] >= gaps.max() / 2)
    return events.span(first + int(pauses[0])) if pauses.size else events.span()


def _with_start(span: Span) -> tuple[np.ndarray, np.ndarray]:
    """`[n + 1]` times and counts: the span's start with 0, then each end, with 1 for an answer and 0 for an error."""
    return np.concatenate([[span.start_s], span.ended_s]), np.concatenate([[0.0], span.answered.astype(float)])


@dataclass(frozen=True)
class UntilKnown:
    """Ends an open level when it is known whether it keeps the limits; without limits, when its mean latency is known.

    Args:
        plan: precision and bounds.
        rate_rps: mean rate of arrivals.
        at_most: metric → largest value allowed.
    """

    plan: LoadPlan
    rate_rps: float
    at_most: Mapping[str, float] = field(default_factory=dict)
    check_after: ClassVar[float] = 0.1  # the test may be checked at any time; relative, so that checks stay cheap

    def check(self, events: Events, *, last: bool = False) -> LevelStatus | None:
        """See `StoppingRule`."""
        turned = events.turned_over
        span = events.span(turned)
        if not turned or not span.ended_s.size or span.end_s <= span.start_s:  # part of one burst has no length
            return None
        estimate = interval.rate(*_with_start(span))
        grows, overloaded = self._queue(span, _GREW_T if last else _GROWING_T)
        overloaded = overloaded or (last and self._piled_up(span))
        verdict = False if grows and self._lost(span) else self._verdict(span)
        long_enough = span.duration_s >= self.plan.level_min_s - 1e-9
        sure = verdict is False or (verdict is True and long_enough)
        return LevelStatus(span, estimate, sure=sure, overloaded=overloaded)

    def has_enough(self, events: Events) -> bool:
        """Whether as many requests have ended after the warm-up as a mean needs at least."""
        status = self.check(events)
        return status is not None and status.span.ended_s.size >= FEWEST

    def _lost(self, span: Span) -> bool:
        """Whether nearly all of the last third break a limit on a time: if the queue grows, later requests will too."""
        return most_above(self.at_most, span.requests.last(len(span.requests) // 3)) > _LOST

    def _verdict(self, span: Span) -> bool | None:
        if self.at_most:
            return all_kept(self.at_most, span.requests, self.plan.precision)
        latency = interval.mean(span.requests.latency_s[span.answered])
        return True if latency is not None and latency.within(self.plan.precision) else None

    def _queue(self, span: Span, t: float) -> tuple[bool, bool]:
        """Whether requests in flight and latency both rise, by `t` standard errors of their drift; and overload.

        A server is overloaded if its queue grows by more than 5 % of the arrivals, beyond what chance adds to their
        number: `t` / 2 standard deviations of it.
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
        """Whether the queue grew by more than is tolerated, in a level that was too short to test for a trend."""
        grown = span.in_flight[-1] - span.in_flight[0]
        few = interval.cuts(span.ended_s, COARSE).size - 1 < FEWEST
        return bool(few and grown > self._tolerated(self.rate_rps * span.duration_s, _GREW_T))

    def _tolerated(self, arrived: float, t: float) -> float:
        # The number of arrivals, n on average, has the standard deviation cv sqrt(n) if their gaps are independent.
        return (1 - _KEPT_UP) * arrived + t / 2 * self.plan.arrivals.cv * math.sqrt(arrived)
