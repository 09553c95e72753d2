"""A comparison that is not over: what the search has measured of the same configurations counts as a round."""

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from raytune_infer.comparing.comparison import compared
from raytune_infer.comparing.comparison_schedule import ComparisonSchedule, Left
from raytune_infer.ranking.recommendation import RunConditions, rank
from raytune_infer.ranking.side_by_side import side_by_side
from raytune_infer.report.comparison_report import comparison_view
from raytune_infer.report.view import View
from raytune_infer.report.whole.standings import compared_view
from raytune_infer.report.words.verdict import answer_so_far
from raytune_infer.study.result import best_of
from tests.levels import a_level
from tests.raytune_infer.comparing.final_rounds import BROKEN, GOAL, finals


def finals_of_search(*measured):
    return [replace(t, purpose="search") for t in finals(measured)]


SEARCHED = finals_of_search((0, 50.0), (1, 98.0), (2, 90.0), (3, 20.0))


def so_far(*measured, searched=SEARCHED):
    """The comparison of 0, which is the default, and of the search's two best, after these measurements."""
    trials = [*searched, *finals(measured, first=5)]
    schedule = ComparisonSchedule([1, 2, 3], 0, GOAL, budget_s=6.0, trial_s=1.0, within=0.05)
    assert schedule.candidates == 2
    return trials, compared(trials, GOAL, 0, schedule.searched(trials))


def test_twice_as_fast_in_the_search_and_in_the_first_round_is_enough():
    trials, comparison = so_far((1, 102.0), (2, 70.0), (0, 50.0))
    assert comparison.recommended is not None and comparison.recommended.position == 1
    assert compared(trials, GOAL, 0).recommended.position == 0  # the round alone tells nothing apart
    assert comparison.rounds == 1 and comparison.preliminary and {*comparison.by_round[0]} == {0, 1, 2}
    # By hand: the residuals of an additive model of the logarithms with three rows and two columns.
    y = np.log([[98.0, 102.0], [90.0, 70.0], [50.0, 50.0]])
    left = y - y.mean(axis=1, keepdims=True) - y.mean(axis=0) + y.mean()
    sigma = math.sqrt(((left**2).sum() + 2 * 0.05**2) / (2 + 2))
    half = stats.t.ppf(1 - 0.05 / 4, 4) * sigma
    over, ratio = comparison.over_default, math.sqrt(98 * 102) / 50
    assert (over.value, over.low, over.high) == pytest.approx((ratio, ratio * math.exp(-half), ratio * math.exp(half)))
    best = best_of(trials, comparison)
    assert best is not None and best.config == {"n": 1} and [t.number for t in best.trials] == [5]
    said = answer_so_far(best, comparison, GOAL, Left(3, 6))
    assert said.startswith("So far, in round 1 of a comparison that is not over (3 of at least 6 measurements; ")
    assert said.endswith("goes on): preliminary, by one measurement: n=1: 102 requests/s")


def test_the_figures_are_of_one_measurement_and_the_same_everywhere():
    measured = finals_of_search((0, 67.0), (1, 33.0))
    measured[0] = replace(measured[0], outcome=replace(measured[0].outcome, interval_rps=(62.0, 87.0)))
    trials, comparison = so_far((1, 15.0), searched=measured)
    best = best_of(trials, comparison)
    assert best is not None and (best.metrics["rps"], best.interval_rps) == (67.0, (62.0, 87.0))
    said = answer_so_far(best, comparison, GOAL, Left(1, 4))
    assert said.endswith(": preliminary, by one measurement: n=0: 67.0 (62.0 to 87.0) requests/s")
    beside = side_by_side(comparison, GOAL)
    assert {p: one.figure for p, one in beside.items()} == {0: 67.0, 1: 15.0}  # not 33 and 15 in one mean
    assert comparison_view(comparison, GOAL) == View()  # no ratio, as nothing was measured side by side
    facts: Any = SimpleNamespace(comparison=comparison, objective=GOAL, best=best)
    assert compared_view(facts).tables == ()


def test_two_whole_rounds_speak_for_themselves():
    two = ((1, 102.0), (2, 70.0), (0, 50.0), (0, 50.0), (2, 70.0), (1, 102.0))
    _, comparison = so_far(*two[:-1])
    assert comparison.preliminary
    for more in ((), ((1, 102.0),)):
        trials, comparison = so_far(*two, *more)
        assert not comparison.preliminary and comparison.rounds == 2 + len(more)
        assert comparison.over_default == compared(trials, GOAL, 0).over_default


def test_before_the_default_has_had_its_turn_it_is_compared_all_the_same():
    _, comparison = so_far((1, 102.0))
    assert comparison.recommended is not None and comparison.recommended.position == 1
    _, comparison = so_far((0, 50.0), searched=SEARCHED[:3])
    assert comparison.recommended is not None and comparison.recommended.position == 1
    assert comparison.over_default is not None


def test_what_the_evidence_does_not_tell_from_the_default_does_not_replace_it():
    _, comparison = so_far((0, 49.0), searched=finals_of_search((0, 50.0), (1, 60.0), (2, 55.0)))
    assert comparison.recommended is not None and comparison.recommended.position == 0
    _, comparison = so_far((1, 60.0), (2, 70.0), (0, 75.0))
    assert comparison.recommended is not None and comparison.recommended.position == 0


def test_one_that_broke_a_limit_in_its_round_is_not_recommended_for_its_search():
    _, comparison = so_far((1, 102.0, BROKEN), (2, 90.0), (0, 50.0))
    assert comparison.recommended is not None and comparison.recommended.position == 2


def test_a_ranking_of_the_run_recommends_the_same():
    trials, comparison = so_far((1, 102.0), (2, 70.0), (0, 50.0))
    levels = {t.number: a_level(t.metrics["rps"]) for t in trials}
    told = [replace(t, outcome=replace(t.outcome, levels=(levels[t.number],), reported=0)) for t in trials]
    searched = [t for t in told if t.purpose == "search" and t.position in (0, 1, 2)]
    conditions = RunConditions(GOAL.at_most, 0.1, default=0)
    found = rank(told, GOAL, conditions, concluded=True, searched=searched)
    assert found.best is not None and found.best.config == {"n": 1} and found.comparison is not None
    assert found.comparison.over_default == comparison.over_default
