"""What a study concludes: only what a second measurement confirms is recommended."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from raytune_infer.comparing.comparison import compared
from raytune_infer.comparing.comparison_schedule import ranking
from raytune_infer.errors import AllFailed
from raytune_infer.store.records import Outcome, TrialRecord
from raytune_infer.store.run_folder import RunFolder
from raytune_infer.study.result import NothingToRecommend, best_of, conclude
from searchers.base import Problem
from searchers.objective import Expression, Objective
from searchers.space import Knob, Space
from tests.levels import a_level

RUN = RunFolder(Path("run"), None, 1)


def problem(**limits: float) -> Problem:
    space = Space([Knob("batch", (1, 2, 4))])
    return Problem(space, Objective(Expression("rps"), at_most=limits), np.ones(3))


def trial(number: int, position: int, rps: float | None, purpose="search", of: Problem | None = None, **more: float):
    outcome = Outcome(None, reason="OutOfMemory: too much") if rps is None else Outcome({"rps": rps, **more})
    value = (of or problem()).objective.value(outcome.metrics, 1.0)
    return TrialRecord(number, purpose, position, {"batch": 2**position}, 1.0, value, outcome, 1.0, False)


def test_candidates_are_what_counted_in_the_search_best_first():
    trials = [trial(1, 0, 5.0), trial(2, 1, 9.0), trial(3, 2, None), trial(4, 2, 99.0, "final")]
    assert ranking(trials) == [1, 0]


def test_the_best_is_that_of_the_comparison_once_there_was_one():
    search, final = [trial(1, 1, 9.0)], [trial(2, 0, 5.0, "final")]

    def numbers(trials):
        best = best_of(trials, compared(trials, problem().objective, None))
        return None if best is None else [t.number for t in best.trials]

    assert numbers(search) == [1] and numbers([*search, *final]) == [2]
    assert numbers([trial(1, 0, None)]) is None


def test_a_lucky_number_does_not_win():
    trials = [trial(1, 1, 9.0), trial(2, 1, 4.0, "final"), trial(3, 0, 5.0, "final")]
    result = conclude(RUN, problem(), trials, 0, "book")
    assert result.best.position == 0
    assert result.ratio == 1.0


def test_the_ratio_is_that_of_the_goals_own_figures():
    trials = [trial(1, 1, 9.0), trial(2, 1, 8.0, "final"), trial(3, 0, 2.0, "final")]
    assert conclude(RUN, problem(), trials, 0, "book").ratio == pytest.approx(4.0)


def test_less_is_better_where_the_goal_is_minimised():
    cheap = Problem(Space([Knob("batch", (1, 2))]), Objective(Expression("rps"), minimize=True), np.ones(2))
    trials = [trial(1, 0, 2.0, "final", of=cheap), trial(2, 1, 8.0, "final", of=cheap)]
    result = conclude(RUN, cheap, trials, 1, "book")
    assert result.best.position == 0 and result.ratio == pytest.approx(0.25)


def said_of(trials, *, at_most=None, at_least=None) -> str:
    """Why nothing is recommended."""
    objective = Objective(Expression("rps"), at_most=at_most or {}, at_least=at_least or {})
    asked = Problem(problem().space, objective, np.ones(3))
    judged = [replace(t, value=objective.value(t.outcome.metrics, 1.0)) for t in trials]
    with pytest.raises(AllFailed) as told:
        conclude(RUN, asked, judged, None, "book")
    return str(told.value)


def test_where_nothing_counts_the_nearest_to_each_limit_is_named():
    """The nearest need not be of one configuration; one that was measured twice is one of them."""
    trials = [
        trial(1, 0, 5.0, p99_ms=30.0, error_rate=0.0), trial(2, 1, 9.0, p99_ms=14.0, error_rate=0.5),
        trial(3, 2, None), trial(4, 1, 8.0, "final", p99_ms=60.0, error_rate=0.25), trial(5, 2, None),
    ]  # fmt: skip
    assert said_of(trials, at_most={"p99_ms": 10, "error_rate": 0.01}, at_least={"rps": 20}) == (
        "none of the 2 configurations that ran keeps all limits reliably; the best value for each limit:\n"
        "  p99_ms: limit 10, best 14\n"
        "  error_rate: limit 0.01, best 0\n"
        "  rps: limit 20, best 9\n"
        "loosen a limit, or add values to the knobs"
    )
    # A latency is not there where nothing was answered.
    silent = [trial(1, 0, 0.0, error_rate=1.0), trial(2, 1, 0.0, error_rate=0.75)]
    assert said_of(silent, at_most={"p99_ms": 10, "error_rate": 0.01}) == (
        "none of the 2 configurations that ran keeps all limits reliably; the best value for each limit:\n"
        "  p99_ms: limit 10, never measured\n"
        "  error_rate: limit 0.01, best 0.75\n"
        "loosen a limit, or add values to the knobs"
    )


def test_where_nothing_counts_the_first_error_of_a_request_is_named_and_the_trials_are_there():
    levels = (a_level(5.0), a_level(5.0, first_error="ValueError: no title"), a_level(5.0, first_error="later"))
    ran = trial(2, 0, 5.0, p99_ms=30.0)
    trials = [trial(1, 1, 5.0, p99_ms=30.0), replace(ran, outcome=replace(ran.outcome, levels=levels))]
    asked = problem(p99_ms=10)
    judged = [replace(t, value=None) for t in trials]
    with pytest.raises(
        NothingToRecommend, match=r"best 30\nrequests failed, the first with ValueError: no title\n"
    ) as told:
        conclude(RUN, asked, judged, None, "book")
    assert "best 30\nrequests failed, the first with ValueError: no title\nloosen" in str(told.value)
    assert told.value.run == RUN and told.value.trials == tuple(judged)


def test_one_trial_and_one_configuration_are_the_only_ones():
    assert said_of([trial(1, 0, None)], at_most={"p99_ms": 10}).startswith("the only trial could not run:\n  1 × ")
    slow = trial(1, 0, 5.0, p99_ms=30.0)
    assert said_of([slow], at_most={"p99_ms": 10}).startswith(
        "the only configuration that ran does not keep all limits reliably; the best value for each limit:\n"
    )


def test_where_nothing_ran_each_reason_is_told_once_the_most_frequent_first():
    other = replace(trial(3, 2, None), outcome=Outcome(None, reason="ReplicaDied: 9"))
    assert said_of([other, trial(1, 0, None), trial(2, 1, None)], at_most={"p99_ms": 10}) == (
        "none of the 3 trials could run:\n  2 × OutOfMemory: too much\n  1 × ReplicaDied: 9"
    )
