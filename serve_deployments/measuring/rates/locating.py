"""The stopping rule of an open level in the search for the highest rate: it ends once another rate would tell more."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from serve_deployments.load.events import Events
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.measuring.rates.level_evidence import LevelEvidence
from serve_deployments.measuring.statistics.limit_verdict import evidence
from serve_deployments.measuring.statistics.rate_posterior import RatePosterior
from serve_deployments.measuring.stopping_rules import BEATEN, LevelStatus, UntilKnown

SURE = 1.0
"""Number of the posterior's standard deviations that must fit into the precision. Our choice: more would take far
longer than a trial may."""


def target_rps(posterior: RatePosterior, precision: float) -> float:
    """The rate to hold a level at: half a precision below the posterior's median, so that it should keep the limits."""
    return posterior.quantile(0.5) / (1 + precision / 2)


def is_precise(posterior: RatePosterior, precision: float) -> bool:
    """Whether the highest rate is known to the requested precision."""
    return SURE * posterior.spread <= math.log1p(precision)


@dataclass
class UntilLocated:
    """Ends once the highest rate is known and this level is near it, or once another rate would tell more about it.

    Args:
        plan: precision and bounds.
        rate_rps: mean rate of arrivals.
        at_most: metric → largest value allowed.
        before: posterior before this level.
        beat_rps: also ends when the highest rate is almost certainly below this; 0: never.
        shown: what this level shows so far.
        after: posterior that includes it.
        checked: the events at the last check, and the number of them then; None before it.
    """

    plan: LoadPlan
    rate_rps: float
    at_most: Mapping[str, float]
    before: RatePosterior
    beat_rps: float = 0.0
    shown: LevelEvidence = field(init=False)
    after: RatePosterior = field(init=False)
    checked: tuple[Events, int] | None = field(init=False, default=None)
    check_after: ClassVar[float] = 0.1  # a posterior may be checked at any time; relative, so that checks stay cheap

    def __post_init__(self) -> None:
        self.shown, self.after = LevelEvidence(self.rate_rps, (None,) * len(self.at_most)), self.before

    def check(self, events: Events, *, last: bool = False) -> LevelStatus | None:
        """See `StoppingRule`."""
        status = UntilKnown(self.plan, self.rate_rps, self.at_most).check(events, last=last)
        if status is None:
            return None
        span = status.span
        seen = tuple(evidence(name, limit, span.requests) for name, limit in self.at_most.items())
        self.checked = events, events.count
        # Even the rate that it answered breaks the limits, or it would not have fallen behind.
        behind = status.estimate if status.overloaded else None
        cannot_rps = () if behind is None else (min(self.rate_rps, behind.bounds()[1]),)
        self.shown = LevelEvidence(self.rate_rps, seen, cannot_rps)
        self.after = self.shown.added_to(self.before)
        keeps = all(one is not None and one.holds for one in seen)
        beaten = self.beat_rps > 0 and self.after.below(self.beat_rps) > BEATEN
        long_enough = span.duration_s >= self.plan.level_min_s - 1e-9 and None not in seen
        precise, off = is_precise(self.after, self.plan.rate_precision), self._off()
        near = abs(off) <= math.log1p(self.plan.rate_precision)
        # A level that keeps the limits above the probable highest rate, or breaks them below it, tells the most.
        elsewhere = abs(off) > max(2 * math.log1p(self.plan.rate_precision), self.after.spread / 2)
        elsewhere = elsewhere and keeps == (off > 0) and (long_enough or (off < 0 and None not in seen))
        return replace(
            status,
            sure=precise and near and keeps and long_enough,
            left=elsewhere or (precise and not (near and keeps) and long_enough),
            beaten=beaten and long_enough,
        )

    def has_enough(self, events: Events) -> bool:
        """See `UntilKnown`."""
        return UntilKnown(self.plan, self.rate_rps, self.at_most).has_enough(events)

    def _off(self) -> float:
        """Logarithm of the next level's rate relative to this level's."""
        return math.log(target_rps(self.after, self.plan.rate_precision) / self.rate_rps)
