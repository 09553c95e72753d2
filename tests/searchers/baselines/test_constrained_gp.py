"""Constrained expected improvement: each factor by hand, who decides before anything is feasible, and what it finds."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import norm

from searchers.base import History, Observation, Problem, Task
from searchers.baselines.constrained_gp import ConstrainedProcess, constrained_residual
from searchers.baselines.expected_improvement import goal_normal, log_chance, log_expected_improvement
from searchers.baselines.from_sources.metric_means import QuantityMean, quantity_means, standardised_mean
from searchers.baselines.gaussian_process import fit
from searchers.meta.metric_model import FEASIBLE
from searchers.objective import Expression, Objective
from searchers.space import Knob, Space

torch.set_num_threads(1)
RNG = np.random.default_rng
SPACE = Space([Knob("batch", tuple(range(1, 25)))])
GOAL = Objective(Expression("rps"), at_most={"p99_ms": 100})
PROBLEM = Problem(SPACE, GOAL)
ONE, UNPRICED = np.ones(1), np.full(1, math.nan)


def metrics(position: int, size: float = 1.0) -> dict[str, float] | None:
    """Larger batches serve more and take longer; the largest do not fit."""
    batch = position + 1.0
    return None if batch > 20 else {"rps": batch**0.5 / size, "p99_ms": 10 * size * batch}


def seen(*positions: int, size: float = 1.0) -> History:
    return History(tuple(Observation(i, metrics(i, size)) for i in positions))


def source(size: float) -> Task:
    return Task(f"size {size}", SPACE, seen(*range(24), size=size).observed)


def test_the_chance_is_that_it_runs_times_that_each_limit_is_kept():
    predicted = {FEASIBLE: (0.5 * ONE, 2 * ONE), "p99_ms": (np.log(80) * ONE, 0.3 * ONE), "rps": (ONE, 0.5 * ONE)}
    objective = Objective(Expression("rps"), at_most={"p99_ms": 100, "other": 1}, at_least={"rps": 2})
    kept = norm.cdf(0.25) * norm.cdf(np.log(100 / 80) / 0.3) * norm.sf((np.log(2) - 1) / 0.5)
    assert log_chance(objective, predicted, UNPRICED) == pytest.approx(np.log(kept))
    priced = replace(objective, at_most={"usd_per_hour": 3}, at_least={})
    assert log_chance(priced, {}, np.array([2.0, 3.0, 4.0])).tolist() == [0, 0, -math.inf]


def test_the_goal_is_exactly_normal_where_it_is_a_product_of_powers():
    predicted = {"rps": (np.array([1.0, 2.0]), np.array([0.3, 0.4])), "watts": (np.zeros(2), np.array([0.4, 0.0]))}
    objective = Objective(Expression("rps / (usd_per_hour * watts ** 2)"))
    mean, std = goal_normal(objective, predicted, np.array([1.0, np.e]))
    np.testing.assert_allclose(mean, [1, 1])
    np.testing.assert_allclose(std, [np.hypot(0.3, 0.8), 0.4])
    less, same = goal_normal(replace(objective, minimize=True), predicted, np.array([1.0, np.e]))
    np.testing.assert_allclose([*less, *same], [-1, -1, *std])


def test_what_has_no_value_in_any_draw_is_as_bad_as_the_worst():
    predicted = {"rps": (np.log([1.0, 3.0, 9.0]), np.full(3, 1e-3))}
    mean, _ = goal_normal(Objective(Expression("rps - 2")), predicted, np.ones(3))
    np.testing.assert_allclose(mean, [0, 0, np.log(7)], atol=0.01)


def test_scores_are_log_expected_improvement_plus_both_chances():
    history = seen(2, 7, 11, 16, 22)
    at = [2, 7, 11, 16, 22]
    x = np.log2(np.arange(1, 25.0))[:, None] / np.log2(24)
    ran = at[:-1]
    rps, p99 = (fit(x[ran], np.log([metrics(i)[name] for i in ran])).predict(x) for name in ("rps", "p99_ms"))
    runs = fit(x[at], np.array([1.0, 1, 1, 1, -1])).predict(x)
    best = np.log(metrics(7)["rps"])  # batch 8 keeps the limit, 12 and 17 do not
    expected = log_expected_improvement(*rps, best) + norm.logcdf((np.log(100) - p99[0]) / p99[1])
    expected += norm.logcdf(runs[0] / runs[1])
    np.testing.assert_allclose(ConstrainedProcess(PROBLEM)._scores(history), expected, atol=2e-5)
    expected[at] = -np.inf
    assert ConstrainedProcess(PROBLEM).suggest(history, RNG(0)) == np.argmax(expected)


def test_five_random_ones_come_first():
    assert len({ConstrainedProcess(PROBLEM).suggest(seen(1, 2, 3, 4), RNG(s)) for s in range(60)}) > 15
    assert len({ConstrainedProcess(PROBLEM).suggest(seen(1, 2, 3, 4, 8), RNG(s)) for s in range(2)}) == 1


def test_the_limit_is_approached_from_what_broke_it():
    """All of five trials are too slow: the next is faster than these, as the latency's own process says which are."""
    assert ConstrainedProcess(PROBLEM).suggest(seen(12, 14, 15, 17, 19), RNG(0)) < 10


def test_a_limit_that_the_load_test_keeps_and_a_metric_that_nobody_measured_change_nothing():
    history = seen(2, 7, 11, 16, 18)
    free = Problem(SPACE, Objective(Expression("rps")))
    unmeasured = replace(GOAL, at_most={"p50_ms": 1})
    scores = ConstrainedProcess(free)._scores(history)
    assert ConstrainedProcess(replace(PROBLEM, kept=frozenset({"p99_ms"})))._scores(seen(2, 7)) == pytest.approx(
        ConstrainedProcess(free)._scores(seen(2, 7))
    )
    # Nothing is feasible as the limited metric is missing; what is maximised is the expected value.
    assert np.argmax(ConstrainedProcess(Problem(SPACE, unmeasured))._scores(history)) == 23
    assert not np.isnan(scores).any()


def test_the_mean_of_sources_is_in_the_median_unit_and_the_spread_is_what_others_leave():
    y = np.array([[0.0, 2, math.nan], [10, 14, math.nan]])
    found = standardised_mean(y)
    # Levels 1 and 12, units 1 and 2: standardised both are -1 and 1, and the last configuration is an average one.
    np.testing.assert_allclose(found.mean, [6.5 - 1.5, 6.5 + 1.5, 6.5])
    assert found.level_spread == pytest.approx(11 / np.sqrt(2)) and found.spread == pytest.approx(1.5 * 0.03)
    three = standardised_mean(np.array([[-1.0, 1], [-1, 1], [1, -1]]))
    # One of three is the other way round: others' means are 0, 0 and -1, 1.
    assert three.spread == pytest.approx(np.sqrt((1 + 1 + 4) / 3))


def test_means_are_of_every_quantity_of_the_problem_that_two_sources_measured():
    taught = replace(PROBLEM, sources=(source(1.0), source(3.0)))
    found = quantity_means(taught)
    assert set(found) == {"rps", "p99_ms", FEASIBLE}
    assert found[FEASIBLE].mean.tolist() == [1.0] * 20 + [-1.0] * 4
    np.testing.assert_allclose(found["rps"].mean[:20], np.log(np.arange(1, 21)) / 2 - np.log(3) / 2, atol=1e-9)
    assert found["rps"].level_spread == pytest.approx(np.log(3) / np.sqrt(2))
    assert quantity_means(replace(PROBLEM, sources=(source(1.0),))) == {} == quantity_means(PROBLEM)
    elsewhere = Task("elsewhere", Space([Knob("other", (1, 2))]), (Observation(0, {"rps": 1.0}),))
    assert quantity_means(replace(PROBLEM, sources=(elsewhere, elsewhere))) == {}


def test_with_sources_it_starts_at_their_constrained_best_and_one_trial_tells_the_level():
    taught = replace(PROBLEM, sources=(source(1.0), source(1.2)))
    searcher = constrained_residual(taught)
    first = searcher.suggest(History(), RNG(0))
    assert first is not None and 5 <= first <= 9  # batches 8 and 10 are the largest that keep the sources' limit
    # This service is three times as large, so that only batches up to 3 keep the limit.
    assert searcher.suggest(seen(first, size=3.0), RNG(0)) in (1, 2)
    mean, std = searcher._predicted("rps", seen(first, size=3.0))
    np.testing.assert_allclose(mean[:20], np.log(np.arange(1, 21) ** 0.5 / 3), atol=1e-6)
    assert (std < 0.1).all()


def test_without_sources_it_is_constrained_gp():
    history = seen(2, 7, 11, 16, 22)
    for each in (History(), history):
        ours, theirs = ({make(PROBLEM).suggest(each, RNG(s)) for s in range(3)}
                        for make in (constrained_residual, ConstrainedProcess))  # fmt: skip
        assert ours == theirs


def test_before_anything_is_known_the_prior_says_how_far_a_service_may_be_off():
    means = {"rps": QuantityMean(np.zeros(24), 0.3, 0.4), FEASIBLE: QuantityMean(np.ones(24), 0.5, 0.0)}
    mean, std = ConstrainedProcess(PROBLEM, means=means)._predicted("rps", History())
    assert std.tolist() == pytest.approx([0.5] * 24) and not mean.any()
