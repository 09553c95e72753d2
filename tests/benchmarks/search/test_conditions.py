"""Searches under other sources and under noise: what is changed, and what that costs on a small suite."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from benchmarks.search.noise import Noise, for_good, noisy
from benchmarks.search.noise import body as noise_body
from benchmarks.search.replaying.conditions import recommended, searches
from benchmarks.search.replaying.found import Found, found_by
from benchmarks.search.replaying.seeds import seeds_of
from benchmarks.search.shuffled import SHUFFLINGS, Sources, learns, shuffled
from benchmarks.search.shuffled import body as shuffled_body
from raytune_infer.suites.replays import Plan, Unit
from searchers.replay import Step

pytestmark = pytest.mark.usefixtures("names")


def test_tasks_that_learn_from_the_same_sources_are_together(suite):
    assert suite.together() == (("a1", "a2"), ("b1", "b2"))
    assert suite.together(with_sources=False) == (("a1",), ("a2",), ("b1",), ("b2",))


def test_what_is_recommended_counts_with_its_true_value():
    # Position 2 looks best, and does not keep the limits in truth.
    steps = [Step(0, None, None, 0), Step(1, 5.0, 5.0, 0), Step(2, 9.0, 9.0, 0), Step(3, 8.0, 9.0, 0)]
    assert recommended(steps, np.array([0.0, 5.0, 0.0, 10.0])) == [0, 0.5, 0, 0]
    settled = for_good(Found((("s", "o", "g", "t", 0),), np.array([[0.0, 0.9, 0.5, 1.0]])))
    assert settled.fractions.tolist() == [[0.0, 0.5, 0.5, 1.0]]


@pytest.mark.parametrize("alike", [False, True])
def test_shuffled_sources_keep_what_was_measured_at_other_configurations(suite, alike):
    tasks = suite.table("a1", "free").problem.sources
    mixed = shuffled(tasks, np.random.default_rng(0), alike=alike)
    moved = []
    for before, after in zip(tasks, mixed, strict=True):
        assert [o.position for o in after.observed] == [o.position for o in before.observed]
        metrics = [o.metrics for o in before.observed]
        moved.append([metrics.index(o.metrics) for o in after.observed])
        assert sorted(moved[-1]) == list(range(12)) != moved[-1]
    assert (moved[0] == moved[1]) == alike


def test_sources_are_shuffled_once_for_all_who_learn_from_them(suite):
    for kind in ("shuffled apart", "shuffled alike"):
        tables = [
            Sources(kind).table(suite, "a1", objective, seed) for objective in ("free", "tight") for seed in (0, 1)
        ]
        assert len({id(table.problem.sources) for table in tables}) == 1
    assert Sources("none").table(suite, "a1", "free", 0).problem.sources == ()
    assert Sources("true").table(suite, "a1", "free", 0).problem.sources is suite.table("a1", "free").problem.sources


def test_who_learns_is_found_by_what_they_do(suite):
    assert learns("follower", suite) and not learns("random", suite)


def test_whoever_draws_is_found_by_what_they_do(suite, folder):
    plan = Plan(folder, ("follower", "random"), seeds=5).checked(suite)
    assert seeds_of(plan, "random", suite) == 5
    assert seeds_of(plan, "follower", suite) == 1  # it follows what others measured
    assert seeds_of(replace(plan, sources="none"), "follower", suite) == 5
    assert seeds_of(replace(plan, seeds=1), "random", suite) == 1


def test_a_searcher_without_guard_is_found_out_by_shuffled_sources(suite, folder):
    plan = Plan(folder, ("follower",), ("free",), budget=12, seeds=3)
    parts = [rows for kind in SHUFFLINGS for tasks in suite.together()
             for rows in searches(suite, plan, Unit("follower", tasks), Sources(kind))]  # fmt: skip
    rows = pd.concat(parts, ignore_index=True)
    by = found_by(rows, "condition")
    assert by["true"].trials(1.0).tolist() == [1] * 12
    assert by["none"].trials(1.0).mean() > 1 and by["shuffled alike"].trials(1.0).mean() > 1
    assert "| follower | true | 1 / 1 / 1 | 0 | 1.00 |" in shuffled_body(rows, ["left out"], 0.95)


def test_noise_has_the_size_that_was_asked_for_and_spares_failures(suite):
    table = suite.table("a1", "free")
    assert noisy(table, 0.0, np.random.default_rng(0)) == table
    rng = np.random.default_rng(0)
    logs = [
        math.log(measured["rps"] / true["rps"])
        for _ in range(200)
        for measured, true in zip(noisy(table, 0.15, rng).metrics, table.metrics, strict=True)
        if measured is not None
    ]
    assert len(logs) == 2200  # one of twelve fails
    assert np.mean(logs) == pytest.approx(0, abs=0.01) and np.std(logs) == pytest.approx(0.15, rel=0.05)
    first, again, other = (Noise(0.1).table(suite, "a1", "free", seed) for seed in (0, 0, 1))
    assert first.metrics == again.metrics != other.metrics


def test_a_lucky_measurement_costs_what_it_would_cost_its_user(suite, folder):
    plan = Plan(folder, ("random",), ("free", "tight"), budget=12, seeds=2)
    rows = pd.concat(
        [rows for sigma in (0.0, 2.0) for tasks in suite.together()
         for rows in searches(suite, plan, Unit("random", tasks), Noise(sigma))],
        ignore_index=True,
    )  # fmt: skip
    by = found_by(rows, "condition")
    assert (by["0"].fractions[:, -1] == 1).all() and by["2"].fractions[:, -1].mean() < 1
    assert "| random | 0 |" in (text := noise_body(rows, [], 0.95)) and "| random | 2 |" in text
