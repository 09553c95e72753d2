"""The configurations of a ranking and their order, in which nothing replaces the default for noise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np

from raytune_infer.comparing.blocks import Estimate, fit
from raytune_infer.comparing.comparison import EXACT, USUAL, Comparison
from raytune_infer.ranking.goal_value import figures_between, value_now, value_possible
from raytune_infer.ranking.rate_bounds import RateBounds
from raytune_infer.ranking.side_by_side import SideBySide, bounds_of
from raytune_infer.spec.goals.goal_check import is_of_answers
from raytune_infer.store.records import TrialRecord
from searchers.objective import Objective
from searchers.quantities import PRICE
from searchers.space import Config
from serve_deployments.metrics.answers.agreement import AnswerAgreement, over_rounds
from serve_deployments.metrics.level_result import LevelResult


@dataclass(frozen=True)
class Ranked:
    """One configuration of the run under the new objective.

    Args:
        config: the configuration.
        trials: numbers of the trials that measured it.
        levels: all load levels of these trials.
        known: bounds on its highest rate within the limits.
        usd_per_hour: its price; NaN where unknown.
        figure: the goal at the highest level that kept the limits, in the goal's own unit; NaN without such a level.
        value: the value it is ranked by (larger is better), from measured levels alone; None if it is not certain to
            count.
        could_be: the same at the highest rate that the levels leave possible; None if it cannot count.
        answers: how its answers agree with the default's, over its trials; None if none compared them.
        failures: number → reason of its trials that could not run.
        emulated: whether the devices were emulated.
        limited: numbers of its trials in which the load generator was the bottleneck.
        compared: what the final comparison says about it; None if it took no part, or its limits were others.
        alone: whether its numbers are of a GPU of which it pays for a part, and which it had to itself.
    """

    config: Config
    trials: tuple[int, ...]
    levels: tuple[LevelResult, ...]
    known: RateBounds
    usd_per_hour: float
    figure: float
    value: float | None
    could_be: float | None
    failures: Mapping[int, str]
    emulated: bool
    limited: tuple[int, ...] = ()
    compared: SideBySide | None = None
    answers: AnswerAgreement | None = None
    alone: bool = False


def ranked_of(
    trials: Sequence[TrialRecord],
    objective: Objective,
    known: RateBounds,
    usd_per_hour: float,
    compared: SideBySide | None,
) -> Ranked:
    """Return one configuration as it is ranked: by its means where the final comparison decides, else by its levels."""
    levels = tuple(level for t in trials for level in t.outcome.levels)
    agreement = over_rounds([t.outcome.answers for t in trials if t.outcome.answers is not None])
    figure, value = value_now(objective, known, agreement, usd_per_hour)
    if compared is not None:
        known = known if compared.result is None else bounds_of(compared.result) or known
        figure, value = compared.figure, compared.value
    return Ranked(
        config=trials[0].config,
        trials=tuple(t.number for t in trials if t.outcome.levels),
        levels=levels,
        known=known,
        usd_per_hour=usd_per_hour,
        figure=figure,
        value=value,
        could_be=value_possible(objective, known, levels, agreement, usd_per_hour),
        failures={t.number: t.outcome.reason for t in trials if t.outcome.reason is not None},
        emulated=any(t.emulated for t in trials),
        limited=tuple(t.number for t in trials if any(level.client_limited for level in t.outcome.levels)),
        compared=compared,
        answers=agreement,
        alone=any(t.outcome.alone for t in trials if t.outcome.levels),
    )


def best_first(
    ranked: Sequence[Ranked], defaults: Set[int], objective: Objective, comparison: Comparison, *, concluded: bool
) -> tuple[tuple[Ranked, ...], bool]:
    """Return the configurations that certainly count, the best first, and whether the final comparison decided it.

    Args:
        ranked: all that were measured.
        defaults: numbers of the default's trials.
        objective: the goal and its limits.
        comparison: the final comparison.
        concluded: see `rank`.
    """
    counted = sorted((r for r in ranked if r.value is not None), key=lambda r: -(r.value or 0.0))
    first = _by_comparison(counted, comparison, concluded=concluded)
    if first is None and not concluded:
        first = _kept_or_better(counted, defaults, objective, comparison)
    if first is None:
        return tuple(counted), False
    return (first, *(r for r in counted if r is not first)), first is _in_ranking(counted, comparison)


def _by_comparison(counted: Sequence[Ranked], comparison: Comparison, *, concluded: bool) -> Ranked | None:
    """Return the configuration that the final comparison recommends; None if it does not decide.

    It decides the question that it was made for: that one which was not in it had a better number in the search may be
    luck. Another question it decides if the first of the ranking is one of those that were compared.
    """
    recommended = _in_ranking(counted, comparison)
    if recommended is None or not (concluded or (counted and counted[0].compared is not None)):
        return None
    return recommended


def _in_ranking(counted: Sequence[Ranked], comparison: Comparison) -> Ranked | None:
    """Return the configuration that the final comparison recommends, if it counts."""
    recommended = comparison.recommended
    return next((r for r in counted if recommended and r.config == recommended.trials[0].config), None)


def _kept_or_better(
    counted: Sequence[Ranked], defaults: Set[int], objective: Objective, comparison: Comparison
) -> Ranked | None:
    """Return the first that is surely better than the default, else the default; None if that does not count.

    The rule of the final comparison, for a question that it does not decide: nobody changes what works for noise.
    """
    default = next((r for r in counted if not defaults.isdisjoint(r.trials)), None)
    if default is None:
        return None
    others = (r for r in counted if r is not default)
    return next((r for r in others if surely_better(r, default, objective, comparison)), default)


def surely_better(one: Ranked, default: Ranked, objective: Objective, comparison: Comparison) -> bool:
    """Return whether a configuration is better than the default beyond the noise of their measurements.

    The rounds of the comparison say it of two that took part. Else the interval of the ratio of two figures comes from
    the intervals of both (Donner & Zou, Closed-form confidence intervals for functions of the normal mean and standard
    deviation, 2012, for logarithms). A part of a GPU is slower among others than alone, so what it did alone is no
    evidence against a default that was among others.

    Args:
        one: a configuration that counts.
        default: the default, which counts too.
        objective: the goal.
        comparison: the final comparison under this objective; without contestants if it does not hold here.
    """
    assert one.value is not None and default.value is not None, "both count"
    return math.log(one.value / default.value) > margin(one, default, objective, comparison)


def margin(one: Ranked, default: Ranked, objective: Objective, comparison: Comparison) -> float:
    """Return the logarithm of the ratio above which a configuration is surely better; infinity if nothing says so.

    Prices are exact, so that none changes it. For the arguments see `surely_better`.
    """
    assert one.value is not None and default.value is not None, "both count"
    if one.alone and not default.alone:
        return math.inf
    pair = [next((c for c in comparison.counting if c.trials[0].config == r.config), None) for r in (one, default)]
    if pair[0] is not None and pair[1] is not None:
        # Of values, not of means: until the comparison is over a value is not the mean that the ratio is of.
        low = comparison.ratio(pair[0], pair[1]).low
        return math.log(one.value / default.value / low) if low > 0 else math.inf
    mine, its = value_between(one, objective), value_between(default, objective)
    return math.hypot(math.log(mine.value / mine.low), math.log(its.high / its.value))


ONE_TEST = fit(np.array([[1.0]]), USUAL).mean(0)
"""Interval of a figure of which a single load test is known, as a ratio to it."""


def value_between(r: Ranked, objective: Objective) -> Estimate:
    """Return the value by which a configuration is ranked with its interval.

    That of its rate gives it, if the goal is of a rate and prices; else it has the usual noise of one load test.
    """
    assert r.value is not None, "it counts"
    answers = {} if r.answers is None else r.answers.figures
    figures = figures_between(objective, r.known.interval_rps, answers, r.usd_per_hour)
    if figures is not None and figures[0] > 0:
        low, high = (1 / figures[1], 1 / figures[0]) if objective.minimize else figures
        return Estimate(r.value, min(low, r.value), max(high, r.value))
    if all(name == PRICE or is_of_answers(name) for name in objective.goal.names):
        return fit(np.array([[r.value]]), EXACT).mean(0)
    return Estimate(r.value, r.value * ONE_TEST.low, r.value * ONE_TEST.high)
