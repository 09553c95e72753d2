"""An open level in a search for the highest rate: held for as long as no other rate would tell more."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from serve_deployments.load.events import Events
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.measuring.statistics.limit_verdict import evidence
from serve_deployments.measuring.statistics.rate_posterior import RatePosterior
from serve_deployments.measuring.stopping_rules import BEATEN, LevelStatus, UntilKnown

SURE = 1.0
"""Standard deviations of the belief that fit into the precision asked for. Our choice: more
would take far longer than a trial may."""


def target_rps(posterior: RatePosterior, precision: float) -> float:
    """Where to hold a level: so little below the probable crossing that it keeps the limits, if the belief is right."""
    return posterior.quantile(0.5) / (1 + precision / 2)


def is_precise(posterior: RatePosterior, precision: float) -> bool:
    """Whether the crossing is known to the precision asked for."""
    return SURE * posterior.spread <= math.log1p(precision)


@dataclass
class UntilLocated:
    """Ends once the crossing is known and this level is an answer, or once another rate would tell more of it.

    Args:
        plan: precision and bounds.
        rate_rps: mean rate of arrivals.
        at_most: metric → largest value allowed.
        before: what is believed before this level.
        beat_rps: ends too when the crossing is surely below this.
        after: what is believed with what it has shown so far.
    """

    plan: LoadPlan
    rate_rps: float
    at_most: Mapping[str, float]
    before: RatePosterior
    beat_rps: float = 0.0
    after: RatePosterior = field(init=False)
    check_after: ClassVar[float] = 0.1  # a belief may be looked at any time; so it costs little however long it takes

    def __post_init__(self) -> None:
        self.after = self.before

    def check(self, events: Events, *, last: bool = False) -> LevelStatus | None:
        """See `StoppingRule`."""
        status = UntilKnown(self.plan, self.rate_rps, self.at_most).check(events, last=last)
        if status is None:
            return None
        span = status.span
        seen = [evidence(name, limit, span.requests) for name, limit in self.at_most.items()]
        self.after = self.before.after(self.rate_rps, seen)
        if status.overloaded and status.estimate:
            # Not even what it answered is within the limits, or it would not have fallen behind.
            self.after = self.after.cannot(min(self.rate_rps, status.estimate.bounds()[1]))
        keeps = all(one is not None and one.holds for one in seen)
        beaten = self.beat_rps > 0 and self.after.below(self.beat_rps) > BEATEN
        long_enough = span.duration_s >= self.plan.level_min_s - 1e-9 and None not in seen
        precise, off = is_precise(self.after, self.plan.rate_precision), self._off()
        near = abs(off) <= math.log1p(self.plan.rate_precision)
        # A level that keeps the limits above the probable crossing, or breaks them below it, tells the most.
        elsewhere = abs(off) > max(2 * math.log1p(self.plan.rate_precision), self.after.spread / 2)
        elsewhere = elsewhere and keeps == (off > 0) and (long_enough or (off < 0 and None not in seen))
        return replace(
            status,
            sure=precise and near and keeps and long_enough,
            left=elsewhere or (precise and not (near and keeps) and long_enough),
            beaten=beaten and long_enough,
        )

    def _off(self) -> float:
        """How far above this rate the next level would be; logarithm."""
        return math.log(target_rps(self.after, self.plan.rate_precision) / self.rate_rps)
