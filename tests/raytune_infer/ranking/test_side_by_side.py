"""What `recommend` says where the final comparison has the answer: the same numbers as when the study ended."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from raytune_infer.ranking.other_objective import same_question
from raytune_infer.ranking.recommendation import Recommendation, RunConditions, rank
from raytune_infer.report.recommendation_report import ranking_table, recommendation_view
from raytune_infer.report.study_report import recommendation, result_view
from raytune_infer.report.words.ranked import notes
from raytune_infer.store.records import TrialRecord
from raytune_infer.store.run_folder import RunFolder
from raytune_infer.study.result import conclude
from searchers.base import Problem
from searchers.objective import Expression, Objective
from searchers.space import Knob, Space
from serve_deployments.resources.usage import Usage
from tests.raytune_infer.comparing.final_rounds import BROKEN, GOAL, finals
from tests.raytune_infer.ranking.ranked_trials import level
from tests.raytune_infer.report.shown_views import column

LIMITS = dict(GOAL.at_most)


def with_levels(trials: list[TrialRecord]) -> list[TrialRecord]:
    """The same trials, each with the level that it reports."""
    told = []
    for t in trials:
        levels = (level(t.metrics["rps"], t.metrics["p99_ms"]),)
        told.append(replace(t, outcome=replace(t.outcome, levels=levels, reported=0)))
    return told


SEARCH = [replace(t, purpose="search") for t in with_levels(finals([(0, 50.0), (1, 140.0), (2, 300.0)]))]
"""Configuration 2 had the best number of the search, by luck."""

FINAL = with_levels(finals([(1, 100.0, 80.0), (0, 50.0)], [(0, 49.0), (1, 121.0, 90.0)], first=4))
TRIALS = [*SEARCH, *FINAL]


def ranked(trials: list[TrialRecord], objective: Objective = GOAL, *, concluded: bool = True) -> Recommendation:
    return rank(trials, objective, RunConditions(LIMITS, 0.1, default=0), concluded=concluded)


def test_the_question_of_the_run_has_the_answer_and_the_numbers_with_which_it_ended():
    problem = Problem(Space([Knob("n", (0, 1, 2))]), GOAL, np.ones(3))
    ended = conclude(RunFolder(Path("run"), None, 1), problem, TRIALS, 0, "ours")
    again = ranked(TRIALS)
    assert again.best is not None and again.best.config == ended.best.config == {"n": 1}
    assert recommendation_view(again).answer == result_view(ended, {}).answer
    shown = recommendation(ended)
    for name in ("rate_rps", "p99_ms"):
        in_ranking = dict(zip((r.config["n"] for r in (*again.ranked, *again.others)),
                              column(ranking_table(again), name), strict=True))  # fmt: skip
        assert [in_ranking[1], in_ranking[0]] == column(shown, name)
    assert again.best.figure == pytest.approx(110.0)


def test_a_machine_that_was_not_its_own_is_named_here_too():
    busy = [
        replace(t, outcome=replace(t.outcome, levels=tuple(
            replace(at, usage=Usage(cores_s=10.0, others_s=4.0)) for at in t.outcome.levels)))
        for t in TRIALS
    ]  # fmt: skip
    first = recommendation_view(ranked(busy)).notes[0]
    assert first.kind == "warning" and first.text.startswith("The machine was not its own: other processes used 40% of")


def test_of_another_goal_the_first_decides_whether_it_was_compared():
    cheap = Objective(Expression("p99_ms"), minimize=True, at_most=LIMITS)
    assert ranked(TRIALS, cheap, concluded=False).comparison is not None  # 0 is at 50 ms, and was compared
    dear = ranked(TRIALS, replace(GOAL, goal=Expression("rps ** 2")), concluded=False)
    assert dear.comparison is None and dear.best is not None and dear.best.config == {"n": 2}
    assert recommendation_view(dear).answer == (
        "Run n=2: rps ** 2 of 90000, 300 requests/s, from its own levels; under this question it was not measured side "
        "by side with the default"
    )


def test_the_default_is_kept_where_it_is_the_best_by_its_own_levels():
    dear = Objective(Expression("rps ** 2"), at_most=LIMITS)
    kept = rank(TRIALS, dear, RunConditions(LIMITS, 0.1, default=2))
    assert kept.comparison is None and recommendation_view(kept).answer == (
        "Keep the default, n=2: rps ** 2 of 90000, 300 requests/s, from its own levels; under this question no other "
        "is surely better"
    )


def test_under_other_limits_the_levels_decide():
    tighter = ranked(TRIALS, replace(GOAL, at_most={"p99_ms": 60.0}), concluded=False)
    assert tighter.comparison is None and all(r.compared is None for r in tighter.ranked)


def test_what_left_the_comparison_does_not_come_back_by_its_luck_in_the_search():
    broken = with_levels(finals([(2, 290.0, BROKEN), (0, 50.0)], [(0, 50.0), (2, 280.0, BROKEN)], first=4))
    found = ranked([*SEARCH, *broken])
    assert found.best is not None and found.best.config == {"n": 0}
    [out] = [r for r in found.others if r.config == {"n": 2}]
    assert out.value is None and "could not run, in the comparison" in str(column(ranking_table(found), "remarks"))


def test_the_bottleneck_is_that_of_the_trial_that_had_it():
    limited = [
        replace(t, outcome=replace(t.outcome, client_limited=True,
                                   levels=tuple(replace(at, client_limited=True) for at in t.outcome.levels)))
        if t.number == 7 else t
        for t in TRIALS
    ]  # fmt: skip
    said = notes(ranked(limited))
    assert "trial 7: the load generator was the bottleneck, the replica may do more" in said
    assert recommendation_view(ranked(limited)).answer.startswith("Run n=1: at least 110 (")


@pytest.mark.parametrize(("rate_rps", "first"), [(60.0, 0), (600.0, 2)])
def test_under_another_question_too_the_default_is_kept_unless_another_is_surely_better(rate_rps, first):
    """One load test each: 60 requests/s against 50 is within their noise, 600 is not."""
    search = [replace(t, purpose="search") for t in with_levels(finals([(0, 50.0), (2, rate_rps)]))]
    tighter = ranked(search, replace(GOAL, at_most={"p99_ms": 60.0}), concluded=False)
    assert tighter.best is not None and tighter.best.config == {"n": first}


@pytest.mark.parametrize(
    ("asked", "same"),
    [
        (GOAL, True),
        (replace(GOAL, at_least={"rps": 1.0}), True),
        (replace(GOAL, at_least={"rps": 60.0}), False),
        (replace(GOAL, goal=Expression("3 * rps")), True),
        (replace(GOAL, goal=Expression("rps ** 2")), False),
        (replace(GOAL, at_most={**LIMITS, "usd_per_hour": 1e6}), True),
        (replace(GOAL, at_most={**LIMITS, "usd_per_hour": 0.0}), False),
    ],
)
def test_what_judges_all_trials_alike_is_the_same_question(asked, same):
    assert same_question(asked, GOAL, LIMITS, TRIALS) is same
