"""What a study concludes: only what a second measurement confirms is recommended."""

from pathlib import Path

import numpy as np
import pytest

from raytune_infer.errors import AllFailed
from raytune_infer.records import Outcome, TrialRecord
from raytune_infer.result import best_of, conclude, ranking
from raytune_infer.run_folder import RunFolder
from searchers.base import Problem
from searchers.objective import Expression, Objective
from searchers.space import Knob, Space

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
    objective = problem().objective
    assert best_of(search, objective).number == 1
    assert best_of([*search, *final], objective).number == 2
    assert best_of([trial(1, 0, None)], objective) is None


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


def test_all_failed_says_why():
    with pytest.raises(AllFailed, match="not one of 2 trials could run:\n  2 × OutOfMemory: too much"):
        conclude(RUN, problem(), [trial(1, 0, None), trial(2, 1, None)], None, "book")


def test_no_limit_kept_says_how_near_it_came():
    strict = problem(p99_ms=10)
    trials = [trial(1, 0, 5.0, of=strict, p99_ms=30.0), trial(2, 1, 9.0, of=strict, p99_ms=14.0)]
    with pytest.raises(AllFailed, match="p99_ms: limit 10, nearest 14"):
        conclude(RUN, strict, trials, None, "book")
