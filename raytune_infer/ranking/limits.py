"""Limits on a level of load, beside those under which a run's load tests measured it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from scipy.special import bdtrc

from serve_deployments.measuring.slo import LOST_TAIL, tightest_ms
from serve_deployments.metrics.level_result import LevelResult
from serve_deployments.metrics.metric_table import metric_of

_CHANCE = 0.05  # the convention

_NEAR = 0.5
"""Part of a limit from which on a level came near it. Our choice: a load test sees twice as much coming (a queue that
doubles its times is at half of its spare capacity), and what is below half the limit decided no level's question."""


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

    def that_bound(self, levels: Sequence[LevelResult]) -> Limits:
        """Return these limits and the run's without those that bound no level: to lift or add one changes nothing.

        A limit bound a level that broke it, came near it, or has no value of its metric, under these limits or under
        the run's, whichever is tighter.

        Args:
            levels: the levels that were measured.
        """
        tightest = {n: min(self.at_most.get(n, math.inf), self.held_under.get(n, math.inf)) for n in self._names}
        bound = {name for name, limit in tightest.items() if any(_came_near(at, name, limit) for at in levels)}
        kept = [{n: at for n, at in of.items() if n in bound} for of in (self.at_most, self.held_under)]
        return Limits(*kept)

    @property
    def _names(self) -> set[str]:
        return {*self.at_most, *self.held_under}

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


def _share_above(name: str) -> float:
    """Share of requests above a percentile; 0 for a metric that is not a percentile."""
    metric = metric_of(name)
    return (metric.share_above if metric else None) or 0.0


def _came_near(level: LevelResult, name: str, limit: float) -> bool:
    """Whether a level broke a limit on one metric, came near it, or says nothing of it."""
    metric, value = metric_of(name), level.value(name)
    if level.overloaded and metric is not None and metric.time is not None:
        return True  # its times say how long the queue was watched
    return value is None or value > _NEAR * limit
