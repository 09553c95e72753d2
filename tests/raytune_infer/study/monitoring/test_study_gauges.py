"""What a study shows while it runs: each figure by hand, from the trials that its observer is told of."""

import math

import pytest

from raytune_infer.store.records import Outcome, TrialRecord
from raytune_infer.study.monitoring.study_gauges import StudyGauges
from raytune_infer.study.monitoring.study_series import (
    BEST_COST_USD,
    BEST_FIGURE,
    BEST_RATE_RPS,
    BUDGET,
    CHANCE_OF_MORE,
    SPENT_USD,
    STATES,
    TRIALS,
    state_of,
)
from raytune_infer.study.progress import Silent, Together
from searchers.objective import Expression, Objective
from tests.raytune_infer.study.monitoring.kept_gauges import KeptGauges

PER_DOLLAR = Objective(Expression("rps / usd_per_hour"), False, {"p99_ms": 100.0}, {})


def finished(number, rps, value=None, *, usd=1.0, purpose="search", seconds=1.0, p99_ms=50.0, **more):
    """A trial that ran, whose value is as given, or could not run where it has no rate."""
    metrics = None if rps is None else {"rps": rps, "p99_ms": p99_ms}
    outcome = Outcome(metrics, reason="CouldNotRun: no memory" if rps is None else None, **more)
    return TrialRecord(number, purpose, number, {"max_batch_size": number}, usd, value, outcome, seconds, False)


@pytest.fixture
def gauges():
    return KeptGauges()


def test_states_count_each_trial_once(gauges):
    shown = StudyGauges(gauges)
    over = finished(2, 90)
    lost = finished(3, None)
    early = finished(4, 10, 10.0, ended_early=True)
    shown.begins([finished(1, 20, 20.0), over], 9, PER_DOLLAR)
    for number in (3, 4, 5, 6):
        shown.started(number, "search", {})
    shown.finished(lost)
    shown.finished(early)
    shown.finished(finished(6, 10, ended_early=True))  # no level of it kept the limits
    counts = {state: gauges.of(TRIALS, state=state) for state in STATES}
    assert counts == {
        "running": 1, "within the limits": 1, "breaks a limit": 2, "ended early": 1, "could not run": 1,
    }  # fmt: skip
    assert gauges.of(BUDGET) == 9


def test_what_was_compared_before_an_interruption_counts_and_rounds_end(gauges):
    shown = StudyGauges(gauges)
    shown.begins([finished(1, 20, 20.0), finished(2, 20, 20.0, purpose="final", seconds=3600.0)], 1, PER_DOLLAR)
    assert gauges.of(TRIALS, state="within the limits") == 2
    assert gauges.of(SPENT_USD) == pytest.approx(1.0, rel=0.01)
    shown.started(3, "final", {})
    shown.finished(finished(3, 20, 20.0, purpose="final"))
    assert gauges.of(TRIALS, state="running") == 0 and gauges.of(TRIALS, state="within the limits") == 3


def test_the_best_is_the_search_s_best_that_counts_in_the_objective_s_own_unit(gauges):
    shown = StudyGauges(gauges)
    shown.begins([], 9, PER_DOLLAR)
    shown.finished(finished(1, 90))
    with pytest.raises(KeyError):
        gauges.of(BEST_RATE_RPS)  # the one trial breaks a limit
    shown.finished(finished(2, 36, 72.0, usd=0.5))
    shown.finished(finished(3, 40, 40.0))
    shown.finished(finished(4, 99, 198.0, usd=0.5, purpose="final"))
    assert (gauges.of(BEST_FIGURE), gauges.of(BEST_RATE_RPS)) == (72.0, 36.0)
    assert gauges.of(BEST_COST_USD) == pytest.approx(0.5 / 3600 / 36 * 1e6)


def test_what_is_minimised_is_shown_as_it_is_not_as_the_reciprocal_that_searchers_take(gauges):
    fastest = Objective(Expression("p99_ms"), True, {}, {})
    shown = StudyGauges(gauges)
    shown.begins([finished(1, 10, 1 / 40, p99_ms=40.0), finished(2, 10, 1 / 20, p99_ms=20.0)], 2, fastest)
    assert gauges.of(BEST_FIGURE) == 20.0


def test_cost_so_far_is_of_every_finished_trial_the_failed_ones_too(gauges):
    shown = StudyGauges(gauges)
    shown.begins([finished(1, 10, usd=2.0, seconds=1800.0)], 9, PER_DOLLAR)
    assert gauges.of(SPENT_USD) == pytest.approx(1.0)
    shown.finished(finished(2, None, usd=4.0, seconds=900.0))
    shown.finished(finished(3, 10, usd=math.nan, seconds=900.0))
    assert gauges.of(SPENT_USD) == pytest.approx(2.0)


def test_the_chance_of_more_is_shown_as_told(gauges):
    StudyGauges(gauges).chance_of_more(0.25)
    assert gauges.of(CHANCE_OF_MORE) == 0.25


def test_observers_together_are_told_the_same(gauges):
    told = []

    class Listening(Silent):
        def note(self, text):
            told.append(text)

    shown = StudyGauges(gauges)
    both = Together(Listening(), shown, Listening())
    both.note("a note")
    both.begins([], 3, PER_DOLLAR)
    both.started(1, "search", {})
    assert told == ["a note", "a note"] and gauges.of(TRIALS, state="running") == 1
    both.finished(finished(1, 10, 10.0))
    assert gauges.of(TRIALS, state="running") == 0 and state_of(finished(1, 10, 10.0)) == "within the limits"
