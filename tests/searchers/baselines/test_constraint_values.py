"""What libraries with constraints are told of a trial: by hand, for each way in which a limit may be kept or broken."""

import math
from dataclasses import replace

import numpy as np
import pytest

from searchers.base import History, Problem
from searchers.baselines.constraint_values import MEASURED, figures_and_constraints
from searchers.objective import Expression, Objective
from searchers.space import Knob, Space

SPACE = Space([Knob("batch", (1, 2, 4, 8))])
LIMITS = Objective(Expression("rps"), at_most={"p99_ms": 100, "error_rate": 0.01}, at_least={"tps": 10})
PROBLEM = Problem(SPACE, LIMITS)
GOOD = {"rps": 4.0, "p99_ms": 50.0, "error_rate": 0.0, "tps": 20.0}


def told(problem: Problem, *metrics: dict[str, float] | None):
    history = History()
    for position, each in enumerate(metrics):
        history = history.observe(position, each)
    return figures_and_constraints(problem, history)


def test_limits_are_log_ratios_and_shares_differences():
    figures, (good, bad) = told(PROBLEM, GOOD, {"rps": 8.0, "p99_ms": 400.0, "error_rate": 0.5, "tps": 5.0})
    np.testing.assert_allclose(figures, [np.log(0.5), 0])  # limits have no part in the figure
    assert good == pytest.approx(
        {MEASURED: -1, "p99_ms at most": np.log(0.5), "error_rate at most": -0.01, "tps at least": np.log(0.5)}
    )
    assert bad == pytest.approx(
        {MEASURED: -1, "p99_ms at most": np.log(4), "error_rate at most": 0.49, "tps at least": np.log(2)}
    )


@pytest.mark.parametrize("failed", [None, {"rps": math.nan}, {k: v for k, v in GOOD.items() if k != "tps"}])
def test_what_was_not_measured_breaks_that_constraint_alone(failed):
    figures, (_, _, broken) = told(PROBLEM, GOOD, {**GOOD, "rps": 8.0, "p99_ms": 200.0}, failed)
    assert broken[MEASURED] == 1 and broken["tps at least"] == pytest.approx(np.log(0.5))
    if failed is None:
        assert broken["p99_ms at most"] == pytest.approx(0) and figures[2] == figures[0] == pytest.approx(np.log(0.5))
    figures, rows = told(PROBLEM, None, None)
    assert figures.tolist() == [0, 0] and [set(row.values()) for row in rows] == [{1.0, 0.0}] * 2


def test_a_limit_that_is_far_off_infinite_or_kept_by_the_load_test_is_no_more_than_broken():
    _, (far, zero) = told(PROBLEM, {**GOOD, "p99_ms": 1e9}, {**GOOD, "p99_ms": 0.0})
    assert far["p99_ms at most"] == 3 and zero["p99_ms at most"] == -3
    _, (fine,) = told(replace(PROBLEM, objective=replace(LIMITS, at_most={"p99_ms": math.inf})), GOOD)
    assert fine["p99_ms at most"] == -3
    _, (kept, slow) = told(replace(PROBLEM, kept=frozenset({"p99_ms"})), GOOD, {**GOOD, "p99_ms": 101.0})
    assert "p99_ms at most" not in kept and (kept[MEASURED], slow[MEASURED]) == (-1, 1)


def test_a_price_is_a_limit_as_any_other_and_what_is_minimised_is_the_reciprocal():
    objective = Objective(Expression("p99_ms"), minimize=True, at_most={"usd_per_hour": 2})
    figures, rows = told(Problem(SPACE, objective, np.array([1.0, 4, 2, 2])), GOOD, {**GOOD, "p99_ms": 25.0})
    np.testing.assert_allclose(figures, [np.log(0.5), 0])
    assert [row["usd_per_hour at most"] for row in rows] == pytest.approx([np.log(0.5), np.log(2)])
    assert told(Problem(SPACE, objective))[0].size == 0
