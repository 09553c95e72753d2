"""The table of a replay, cell by cell, of searches of which each trial is known."""

from pathlib import Path

import numpy as np

from raytune_infer.report.replay_report import summary
from raytune_infer.suites.replays import Plan, Results, Search
from raytune_infer.suites.suites import Suite
from searchers.objective import Expression, Objective
from searchers.replay import Step
from tests.raytune_infer.report.shown_views import headings, texts

OBJECTIVES = {name: Objective(Expression("rps")) for name in ("fast", "enough")}


def search(found: dict[int, float], trials: int = 40, *, searcher: str = "random", objective: str = "fast") -> Search:
    """One in which the best after trial k is `found[k]` until the next that is named; the best there is, is 200."""
    steps, best = [], 0.0
    for trial in range(1, trials + 1):
        best = found.get(trial, best)
        steps.append(Step(trial, best or None, best or None, 0.0))
    return Search(objective, "b", searcher, 0, 200.0, tuple(steps))


def rows_of(*searches: Search, budget: int = 40, objectives=("fast", "enough"), searchers=("random", "ernest")):
    plan = Plan(Path("nowhere"), searchers=searchers, objectives=objectives, budget=budget)
    table = summary(Results(plan, Suite("tiny", OBJECTIVES, {}, sources=()), searches, None, ()))
    assert table.title == (
        "tiny: trials until a fraction of the best as median / p90 / worst (not found), "
        "and mean fraction after some trials"
    )
    assert headings(table) == [
        "searcher", "objective", "searches", "90% of the best", "95% of the best", "100% of the best", "after 5",
        "after 10", "after 30",
    ]  # fmt: skip
    return texts(table)


# A half after 5, three quarters after 10, nine tenths after 30 trials, 95 % after 36, and never all of it.
SLOW = {1: 100.0, 8: 150.0, 20: 180.0, 36: 190.0}
# 0.7, 0.8 and all of it.
FAST = {2: 140.0, 9: 160.0, 25: 200.0}


def test_each_searcher_has_a_line_and_one_for_each_objective_beneath():
    rows = rows_of(search(SLOW), search(FAST, objective="enough"), search(FAST, searcher="ernest"))
    slow = ["1", "20 / 20 / 20 (0)", "36 / 36 / 36 (0)", "– / – / – (1)", "0.500", "0.750", "0.900"]
    fast = ["1", "25 / 25 / 25 (0)", "25 / 25 / 25 (0)", "25 / 25 / 25 (0)", "0.700", "0.800", "1.000"]
    assert rows == [
        # Of two the median is the worse, and means are of all searches.
        ["random", "", "2", "25 / 25 / 25 (0)", "36 / 36 / 36 (0)", "– / – / – (1)", "0.600", "0.775", "0.950"],
        ["random", "fast", *slow],
        ["random", "enough", *fast],
        ["ernest", "", *fast],
        ["ernest", "fast", *fast],
        ["ernest", "enough", "0", *["–"] * 6],  # none was done
    ]
    assert rows_of(search(SLOW), objectives=("fast",), searchers=("random",)) == [["random", "", *slow]]


def test_quantiles_are_over_searches_and_what_was_not_found_is_the_worst():
    """Found at trial k = 1 … 20, of twenty searches: half of them take 11 or fewer, nine of ten 19 or fewer."""
    all_found = [search({k: 200.0}) for k in range(1, 21)]
    [row] = rows_of(*all_found, objectives=("fast",), searchers=("random",))
    assert row[3:6] == ["11 / 19 / 20 (0)"] * 3
    # After 5 trials five of twenty have all of it and the others nothing.
    assert row[6:] == ["0.250", "0.500", "1.000"]
    [row] = rows_of(*all_found, search({}), search({}), search({}), objectives=("fast",), searchers=("random",))
    assert row[2:6] == ["23", *["12 / – / – (3)"] * 3]


def test_after_more_trials_than_there_were_to_be_there_is_no_mean():
    found = {1: 100.0, 8: 150.0}
    for budget, cells in (
        (4, ["–", "–", "–"]), (5, ["0.500", "–", "–"]), (10, ["0.500", "0.750", "–"]), (29, ["0.500", "0.750", "–"]),
        (30, ["0.500", "0.750", "0.750"]),
    ):  # fmt: skip
        [row] = rows_of(search(found, budget), budget=budget, objectives=("fast",), searchers=("random",))
        assert row[6:] == cells, budget
    # A search that had no more to try keeps what it had found.
    [row] = rows_of(search(found, 8), budget=40, objectives=("fast",), searchers=("random",))
    assert row[6:] == ["0.500", "0.750", "0.750"] and np.isclose(float(row[-1]), 150 / 200)
