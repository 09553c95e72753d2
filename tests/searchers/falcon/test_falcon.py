"""Falcon as a whole: where it starts, where it goes on, and what it does with what is wrong."""

import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from searchers.base import ExpectedMetrics, History, Observation, Problem, Task
from searchers.baselines.expected_improvement import log_expected_improvement
from searchers.contract import example, median_best
from searchers.falcon.falcon import Falcon
from searchers.falcon.regions import ONE
from searchers.falcon.search import backed_up, selected
from searchers.falcon.tree import Split
from searchers.objective import Expression, Objective
from searchers.registry import named
from searchers.replay import MeasuredTable
from searchers.space import Condition, Knob, Space
from tests.searched import best_after, roofline_problem, search, shifted_sources

torch.set_num_threads(1)
RNG = np.random.default_rng
problem, table = roofline_problem()
taught = replace(problem, sources=shifted_sources())
RAN = np.array([metrics is not None for metrics in table])
TRUTH = np.log([metrics["rps"] if metrics is not None else 1.0 for metrics in table])


def told(log_mean: np.ndarray, std: float = 0.1, **more) -> Problem:
    said = ExpectedMetrics("a test", {"rps": log_mean}, {"rps": np.full(len(table), std)}, **more)
    return replace(problem, expected=said)


def after(asked: Problem, trials: int, seed: int = 0) -> History:
    history = History()
    for position in search(asked, table, Falcon, trials, seed):
        history = history.observe(position, table[position])
    return history


def test_without_any_knowledge_it_beats_random_search():
    for measured in (example(), MeasuredTable(problem, tuple(table))):
        best = [median_best(named(name), measured, trials=15, seeds=n) for name, n in (("falcon", 5), ("random", 101))]
        assert best[0] > best[1]


@pytest.mark.parametrize("asked", [problem, taught])
def test_a_suggestion_has_the_largest_expected_improvement_of_the_region_that_the_tree_leads_to(asked):
    searcher, history = Falcon(asked), after(asked, 5).await_(17)
    best = max(asked.values(history))
    forecast = searcher.forecast(history)
    ended = np.array([o.position for o in history.observed])
    statistics = backed_up(searcher.tree, ended, np.array([17]), *forecast.reward(best))
    leaf = selected(searcher.tree, statistics, RNG(3))
    scores = log_expected_improvement(forecast.mean, forecast.std, np.log(best)) + forecast.chance
    inside = [p for p in np.flatnonzero(searcher.tree.leaf_of == leaf).tolist() if p not in history.taken]
    found = searcher.suggest(history, RNG(3))
    assert found in inside and scores[found] == pytest.approx(max(scores[p] for p in inside), abs=1e-6)


def test_the_first_trial_is_what_earlier_services_expect_most_of():
    searcher = Falcon(taught)
    forecast = searcher.forecast(History())
    first = searcher.suggest(History(), RNG(0))
    assert first == np.argmax(forecast.mean + forecast.chance)
    assert best_after(problem, table, [first]) > 0.9


def test_an_expectation_that_is_right_finds_the_best_at_once_whatever_its_level():
    noisy = TRUTH + 0.02 * RNG(0).standard_normal(len(TRUTH))
    runs = RAN.astype(float)
    for level in (0.0, np.log(50.0)):
        assert best_after(problem, table, search(told(noisy + level, 0.02, runs=runs), table, Falcon, 2, 0)) > 0.95


def test_an_expectation_that_is_upside_down_is_dropped():
    found = search(told(-TRUTH), table, Falcon, 18, 0)
    assert best_after(problem, table, found) > 0.9


def test_a_level_that_breaks_the_limit_is_corrected_by_the_first_trial():
    """Expected latencies are a third of the true ones: what is thought to keep the limit breaks it by far."""
    limited = replace(taught, objective=Objective(Expression("rps / usd_per_hour"), at_most={"p99_ms": 40}))
    latency = np.log([metrics["p99_ms"] if metrics is not None else 1.0 for metrics in table])
    std = {"p99_ms": np.full(len(table), 0.1), "rps": np.full(len(table), 0.1)}
    said = ExpectedMetrics("a test", {"p99_ms": latency - np.log(3), "rps": TRUTH}, std)
    found = search(replace(limited, expected=said), table, Falcon, 4, 0)
    assert best_after(limited, table, found) > 0.9


def test_knobs_without_an_effect_split_no_region_and_are_named():
    space = Space([*problem.space.knobs[:3], Knob("colour", ("red", "green", "blue"), "categorical")])
    which = [problem.space.position({**config, "gpu_memory": 0.4}) for config in map(without_colour, range_of(space))]
    usd = problem.usd_per_hour[which]
    sources = tuple(
        Task(t.name, space, tuple(Observation(i, t.observed[p].metrics) for i, p in enumerate(which)))
        for t in shifted_sources()
    )
    searcher = Falcon(Problem(space, problem.objective, usd, sources=sources))
    kept = {effect.knob: effect.kept for effect in searcher.effects}
    assert kept == {"cpu_cores": True, "gpu_type": True, "max_batch_size": True, "colour": False}
    splits = [split for split in searcher.tree.splits if isinstance(split, Split)]
    assert splits and 3 not in {split.knob for split in splits}


def test_what_many_knobs_within_noise_do_together_splits_no_region():
    """Each of four moves the rate by 15 % and a trial is off by 16 %: together they are not equally good."""
    space = Space([Knob(name, (1, 2)) for name in "abcd"] + [Knob("e", (1, 2, 3))])
    rps = np.exp(0.15 * (2 * space.ranks[:, :4] - 1).sum(axis=1))
    sources = tuple(
        Task(f"{k}", space, tuple(Observation(i, {"rps": k * float(r)}) for i, r in enumerate(rps))) for k in (1.0, 2.0)
    )
    searcher = Falcon(Problem(space, Objective(Expression("rps")), sources=sources, noise=0.16))
    assert [effect.kept for effect in searcher.effects] == [False] * 5
    assert searcher.tree.splits == (ONE,)
    finer = Falcon(Problem(space, Objective(Expression("rps")), sources=sources, noise=0.05))
    assert [effect.kept for effect in finer.effects] == [True] * 4 + [False] and len(finer.tree.leaves) == 7


def range_of(space: Space):
    return [space[i] for i in range(len(space))]


def without_colour(config):
    return {name: value for name, value in config.items() if name != "colour"}


def test_there_are_no_more_regions_than_the_root_of_the_configurations_and_each_is_one_part():
    for asked in (problem, taught):
        tree = Falcon(asked).tree
        assert 2 <= len(tree.leaves) <= np.ceil(np.sqrt(360)) == 19
        assert set(tree.leaf_of.tolist()) == set(tree.leaves.tolist())


def test_regions_of_a_higher_expectation_are_told_apart():
    """Expected quality differs more between regions than within them."""
    searcher = Falcon(taught)
    quality, _ = searcher.forecast(History()).reward()
    leaf = np.unique(searcher.tree.leaf_of, return_inverse=True)[1]
    means = np.bincount(leaf, quality) / np.bincount(leaf)
    assert np.var(quality - means[leaf]) < 0.1 * np.var(quality)


def test_what_has_no_more_memory_than_a_failure_hardly_runs():
    failed = problem.space.position({"cpu_cores": 2, "gpu_type": "T4", "max_batch_size": 64, "gpu_memory": 0.1})
    larger = problem.space.position({"cpu_cores": 3, "gpu_type": "T4", "max_batch_size": 128, "gpu_memory": 0.1})
    assert table[failed] is None
    chance = Falcon(problem).forecast(History().observe(failed, None)).chance
    assert np.exp(chance[larger]) <= 0.05 + 1e-12


def test_four_at_a_time_part_over_regions():
    for asked in (problem, taught):
        searcher, history, regions = Falcon(asked), after(asked, 2), set()
        for step in range(4):
            position = searcher.suggest(history, RNG(step))
            assert position is not None
            regions.add(int(searcher.tree.leaf_of[position]))
            history = history.await_(position)
        assert len(regions) >= 2


def test_a_space_with_knobs_that_are_not_always_there():
    knobs = [Knob("engine", ("x", "y"), "categorical"), Knob("beams", (1, 2, 4), when=Condition("engine == 'y'"))]
    space = Space([*knobs, Knob("batch", (1, 2, 4, 8))])
    asked = Problem(space, Objective(Expression("rps")))
    history = History()
    for step in range(len(space)):
        position = Falcon(asked).suggest(history, RNG(step))
        assert position is not None
        history = history.observe(position, {"rps": 1.0 + position})
    assert len(history.taken) == len(space) == 16


def test_where_nothing_can_count_it_goes_on_to_the_end():
    asked = replace(problem, objective=Objective(Expression("rps"), at_most={"usd_per_hour": 0.0}))
    small = replace(asked, space=asked.space.subset(np.arange(6)), usd_per_hour=asked.usd_per_hour[:6])
    assert sorted(search(small, table[:6], Falcon, 9, 0)) == [0, 1, 2, 3, 4, 5]


def test_suggests_among_360_configurations_in_hundredths_of_a_second():
    searcher, history = Falcon(taught), after(taught, 10)
    start = time.process_time()
    for seed in range(5):
        searcher.suggest(history, RNG(seed))
    assert (time.process_time() - start) / 5 < 0.05
