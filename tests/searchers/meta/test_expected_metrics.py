"""What is expected of the metrics as a component of the mixture: what it becomes, what it is worth, how it loses."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

from searchers.base import ExpectedMetrics, History, Problem
from searchers.meta import kernel
from searchers.meta.joint_grid import grid_over
from searchers.meta.meta import EXPECTED, GENERIC, Meta
from searchers.meta.metric_model import FEASIBLE
from searchers.meta.mixture import from_expected, generic
from searchers.objective import Expression, Objective
from searchers.space import Knob, Space
from tests.searched import best_after, roofline_problem, search

torch.set_num_threads(1)
SPACE = Space([Knob("batch", (1, 2, 4)), Knob("engine", ("x", "y"), "categorical")])
GRID = grid_over(SPACE, ())
MEAN, STD = np.arange(6.0), np.linspace(0.1, 0.6, 6)
QUANTITIES = ("p99_ms", "rps", FEASIBLE)
problem, table = roofline_problem()
TRUTH = np.log([metrics["rps"] if metrics is not None else 1.0 for metrics in table])


def small(**changes) -> Problem:
    said = ExpectedMetrics("operators", {"rps": MEAN}, {"rps": STD}, {"rps": 0.3})
    return Problem(SPACE, Objective(Expression("rps")), expected=replace(said, **changes), noise=0.05)


def told(log_mean: np.ndarray) -> Problem:
    return replace(problem, expected=ExpectedMetrics("operators", {"rps": log_mean}, {"rps": np.full(len(table), 0.1)}))


def test_a_metric_has_the_mean_and_the_deviations_that_are_said():
    found = from_expected(small(), GRID, QUANTITIES)
    assert found is not None and found.keys() == set(QUANTITIES)
    rps = found["rps"]
    assert rps.mean.tolist() == MEAN.tolist() and not rps.floating and rps.noise == 0.05**2
    assert np.diag(rps.covariance) == pytest.approx(STD**2 + 0.3**2)
    # But for the level, errors are as alike as curves of which nothing is known.
    alike = kernel.variance(GRID.axes, GRID.ranks, kernel.unit(GRID.axes))
    assert rps.covariance[0, 5] - 0.3**2 == pytest.approx(STD[0] * STD[5] * alike[0, 5])
    assert np.diag(alike) == pytest.approx(np.ones(6))


def test_what_is_not_expected_is_as_where_nothing_is_known():
    found, unknown = from_expected(small(), GRID, QUANTITIES), generic(GRID, QUANTITIES, 0.05**2)
    assert found is not None
    for quantity in ("p99_ms", FEASIBLE):
        assert np.array_equal(found[quantity].covariance, unknown[quantity].covariance)
    assert from_expected(small(), GRID, ("p99_ms", FEASIBLE)) is None
    assert from_expected(replace(small(), expected=None), GRID, QUANTITIES) is None


def test_a_level_of_which_nothing_is_said_is_free():
    found = from_expected(small(level_std={}), GRID, QUANTITIES)
    assert found is not None and found["rps"].floating
    after = found["rps"].given(np.array([2]), np.array([102.0]))
    assert after.mean == pytest.approx(MEAN + 100)


def test_what_runs_has_the_probabilities_that_are_said():
    found = from_expected(small(runs=np.array([1.0, 0.5, 0.0, 1.0, 1.0, 1.0])), GRID, QUANTITIES)
    assert found is not None
    assert found[FEASIBLE].mean[:3].tolist() == [1.0, 0.0, -1.0]
    assert np.diag(found[FEASIBLE].covariance) == pytest.approx(0.25)


def test_a_right_expectation_finds_the_best_at_once_whatever_its_level():
    for level in (0.0, 3.0):
        assert best_after(problem, table, search(told(TRUTH + level), table, Meta, 3, 0)) > 0.95
    assert best_after(problem, table, search(problem, table, Meta, 3, 0)) < 0.95


def test_one_that_is_upside_down_loses_its_weight_and_that_is_said_once(caplog):
    with caplog.at_level(logging.WARNING, "searchers.meta.meta"):
        found = search(told(-TRUTH), table, Meta, 20, 0)
    assert best_after(problem, table, found) > 0.9
    message = "the prior from operators for rps contradicts the trials so far and now has almost no weight"
    assert [record.getMessage() for record in caplog.records] == [message]


def test_without_an_expectation_the_mixture_is_what_it_was():
    other = ExpectedMetrics("operators", {"watts": TRUTH}, {"watts": np.ones(len(table))})
    silent = Meta(replace(problem, expected=other))
    assert EXPECTED not in {component.name for component in silent._components}
    assert GENERIC in {component.name for component in silent._components}
    history = History().observe(9, table[9]).observe(77, table[77])
    for quantity, drawn in Meta(problem).drawn(history).items():
        assert np.array_equal(drawn, silent.drawn(history)[quantity])
