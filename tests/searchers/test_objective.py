import copy
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchers.base import History, Observation, Problem
from searchers.objective import Expression, Objective
from searchers.space import Knob, Space

number = st.floats(allow_nan=True, allow_infinity=True)


@given(st.dictionaries(st.sampled_from(["rps", "p99_ms", "error_rate"]), number), number, number, number)
def test_a_broken_limit_never_counts(metrics, usd, most, least):
    objective = Objective(Expression("rps / usd_per_hour"), at_most={"p99_ms": most}, at_least={"rps": least})
    if "rps" not in metrics:
        assert objective.broken(metrics)
    value = None if objective.broken(metrics) else objective.value(metrics, usd)
    kept = metrics.get("p99_ms", math.inf) <= most and metrics.get("rps", -math.inf) >= least
    assert kept or value is None and objective.value(metrics, usd) is None
    assert value is None or (value > 0 and math.isfinite(value))


@pytest.mark.parametrize("text", [
    "__import__('os')", "rps.real", "rps[0]", "f(rps)", "lambda: rps", "rps if rps else 1", "[rps]", "'rps'",
    "rps < 3", "rps; rps", "", "1 + 2", "rps and 1", "rps % 2", "rps := 3", "1j * rps", "rps * True", "not rps",
])  # fmt: skip
def test_expression_refuses_code(text):
    with pytest.raises(ValueError):
        Expression(text)


@given(st.floats(0.1, 1e3), st.floats(0.1, 1e3))
def test_expression_is_arithmetic(a, b):
    expression = Expression("-(a + 2*b) ** 2 / a - b")
    assert expression.names == {"a", "b"}
    assert expression({"a": a, "b": b}) == pytest.approx(-((a + 2 * b) ** 2) / a - b)


@pytest.mark.parametrize("text", ["1 / a", "a ** (-1)", "(a - 1) ** 0.5", "(a + 1) * 9**9**9**9"])
def test_expression_is_nan_where_it_is_undefined_and_never_hangs(text):
    assert math.isnan(Expression(text)({"a": 0}))


def test_missing_quantity_is_a_key_error():
    with pytest.raises(KeyError, match="rps"):
        Expression("rps")({})


def test_minimize_is_the_reciprocal_and_keeps_the_order():
    cost = Objective(Expression("usd"), minimize=True)
    assert cost.value({"usd": 4}) == 0.25
    assert cost.value({"usd": 2}) > cost.value({"usd": 3})
    assert cost.value({"usd": 0}) is None and cost.value(None) is None


def test_objective_survives_copying_with_its_expression():
    objective = copy.deepcopy(Objective(Expression("rps / usd_per_hour")))
    assert objective.value({"rps": 6}, 2) == 3
    assert objective.limited == ()
    assert Objective(Expression("a"), at_most={"b": 1, "a": 2}, at_least={"a": 1}).limited == ("b", "a")


def test_history_and_problem():
    problem = Problem(Space([Knob("k", (1, 2, 3))]), Objective(Expression("rps"), at_most={"p99_ms": 10}))
    history = History().await_(0).await_(2).observe(2, {"rps": 5, "p99_ms": 3}).observe(1, {"rps": 9, "p99_ms": 30})
    assert history.pending == {0} and history.taken == {0, 1, 2}
    assert problem.best(history) == Observation(2, {"rps": 5, "p99_ms": 3})
    assert problem.best(History().observe(0, None)) is None
    tied = History().observe(1, {"rps": 5, "p99_ms": 1}).observe(0, {"rps": 5, "p99_ms": 1})
    assert problem.best(tied).position == 1
    with pytest.raises(ValueError, match="one price for each of the 3"):
        Problem(problem.space, problem.objective, problem.usd_per_hour[:2])
