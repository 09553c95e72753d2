"""Who says what is expected of each quantity, and what it becomes."""

from dataclasses import replace

import numpy as np
import pytest

from searchers.base import ExpectedMetrics, Observation, Problem, Task
from searchers.falcon.expectation import NOTHING, SOURCES, _fused, expected_of
from searchers.meta import kernel
from searchers.meta.metric_model import FEASIBLE
from searchers.objective import Expression, Objective
from searchers.space import Knob, Space

SPACE = Space([Knob("batch", (1, 2, 4, 8)), Knob("engine", ("x", "y"), "categorical")])
PROBLEM = Problem(SPACE, Objective(Expression("rps"), at_most={"p99_ms": 50}), noise=0.05)


def task(name: str, factor: float, space: Space = SPACE, metric: str = "rps") -> Task:
    observed = (Observation(i, {metric: factor * (i + 1)} if i % 4 < 3 else None) for i in range(len(space)))
    return Task(name, space, tuple(observed))


def test_where_nobody_says_anything_only_running_is_likely():
    found = expected_of(PROBLEM)
    assert {q: e.by for q, e in found.quantities.items()} == {"p99_ms": NOTHING, "rps": NOTHING, FEASIBLE: NOTHING}
    assert not found.informed and np.ptp(found.quantities["rps"].mean) == 0
    assert np.isinf(found.quantities["rps"].level_std) and (found.quantities[FEASIBLE].mean == 0.8).all()


def test_of_sources_the_common_shape_and_level_and_what_none_measured_stays_unknown():
    found = expected_of(replace(PROBLEM, sources=(task("a", 1.0), task("b", 10.0), task("c", 100.0))))
    rps = found.quantities["rps"]
    assert found.informed and rps.by == SOURCES and found.quantities["p99_ms"].by == NOTHING
    measured = [i for i in range(8) if i % 4 < 3]
    assert rps.mean[measured] == pytest.approx(np.log(10) + np.log(np.array(measured) + 1.0), abs=0.15)
    # Levels ln 1, ln 10, ln 100, and the error of their mean; shapes do not differ by more than a measurement can tell.
    assert rps.level_std == pytest.approx(np.log(10) * np.sqrt(4 / 3), rel=1e-3)
    assert rps.scales.main == pytest.approx(0.05) and rps.scales.joint == rps.scales.own == 0.05
    runs = found.quantities[FEASIBLE].mean
    assert (runs[measured] > 0.8).all() and (runs[[3, 7]] < -0.8).all()


def test_workloads_of_one_model_are_one_sample():
    three = tuple(replace(task(name, 1.0), group="one model") for name in "abc")
    found = expected_of(replace(PROBLEM, sources=(*three, task("another", 100.0)))).quantities["rps"]
    measured = [i for i in range(8) if i % 4 < 3]
    level = np.log(10)  # the middle of the two models' levels, not nearer to the one that was measured more often
    assert found.mean[measured] - np.log(np.array(measured) + 1.0) == pytest.approx(level, abs=0.15)


def test_one_source_tells_a_shape_and_not_how_much_services_differ():
    one, none = expected_of(replace(PROBLEM, sources=(task("a", 3.0),))), expected_of(PROBLEM)
    rps = one.quantities["rps"]
    assert rps.by == SOURCES and np.isinf(rps.level_std)
    assert kernel.total_variance(rps.scales) == pytest.approx(kernel.total_variance(none.quantities["rps"].scales))


def test_knobs_that_only_sources_or_only_the_problem_have():
    other = Space([Knob("batch", (2, 4, 16)), Knob("beams", (1, 2, 4))])
    found = expected_of(replace(PROBLEM, sources=(task("a", 1.0, other), task("b", 2.0, other))))
    assert [axis.name for axis in found.axes] == ["batch", "engine", "beams"]
    assert (found.ranks[:, 2] == -1).all() and found.ranks.shape == (8, 3)
    rps = found.quantities["rps"]
    by_batch = rps.mean.reshape(4, 2)
    assert by_batch[:, 0] == pytest.approx(by_batch[:, 1]) and by_batch[2, 0] > by_batch[1, 0]
    assert rps.scales.main[1] > 0.5 and rps.scales.main[0] == pytest.approx(0.05)


def said(**changes) -> ExpectedMetrics:
    mean = np.log(np.arange(8) + 1.0)
    return replace(
        ExpectedMetrics("operators", {"rps": mean}, {"rps": np.full(8, 0.4)}, {"rps": 0.3}, np.linspace(0, 1, 8)),
        **changes,
    )


def test_what_the_problem_expects_has_the_mean_and_the_deviations_that_are_said():
    found = expected_of(replace(PROBLEM, expected=said()))
    assert {q: e.by for q, e in found.quantities.items()} == {
        "p99_ms": NOTHING, "rps": "operators", FEASIBLE: "operators",
    }  # fmt: skip
    rps, runs = found.quantities["rps"], found.quantities[FEASIBLE]
    assert rps.mean.tolist() == np.log(np.arange(8) + 1.0).tolist() and rps.level_std == 0.3
    # As wide as is said, and no narrower than a measurement's noise.
    assert rps.width**2 * kernel.total_variance(rps.scales) == pytest.approx(0.4**2 + 0.05**2)
    assert runs.mean == pytest.approx(np.linspace(-1, 1, 8)) and runs.width[0] == 0.5
    silent = expected_of(replace(PROBLEM, expected=said(level_std={}, runs=None)))
    assert np.isinf(silent.quantities["rps"].level_std) and silent.quantities[FEASIBLE].by == NOTHING


def test_of_two_who_say_something_the_more_certain_one_weighs_more_and_no_certainty_is_gained():
    sources = (task("a", 1.0), task("b", 4.0))
    asked = replace(PROBLEM, sources=sources)
    one, other = (
        expected_of(each).quantities["rps"] for each in (replace(PROBLEM, expected=said(level_std={})), asked)
    )
    both = expected_of(replace(asked, expected=said(level_std={}))).quantities["rps"]
    assert both.by == "operators and earlier services"
    precise = [1 / (e.width**2 * kernel.total_variance(e.scales)) for e in (one, other)]
    share = precise[0] / (precise[0] + precise[1])
    shapes = [e.mean - e.mean.mean() for e in (one, other)]
    # Who does not know the level has no part in it; it was shared out by the mean over configurations.
    assert both.mean == pytest.approx(share * shapes[0] + (1 - share) * shapes[1] + other.mean.mean())
    variance = both.width**2 * kernel.total_variance(both.scales)
    assert 1 / variance == pytest.approx((precise[0] + precise[1]) / 2)
    assert both.level_std == pytest.approx(other.level_std * np.sqrt(2))


def test_two_who_say_the_same_say_what_one_of_them_says():
    one = expected_of(replace(PROBLEM, expected=said())).quantities["rps"]
    both = _fused(one, one)
    assert both.mean == pytest.approx(one.mean) and both.width == pytest.approx(one.width)
    assert both.level_std == pytest.approx(one.level_std)
    unknown = replace(one, level_std=np.inf)
    assert np.isinf(_fused(unknown, unknown).level_std)
