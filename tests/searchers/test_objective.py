import copy
import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from searchers.base import History, Observation, Problem
from searchers.objective import Expression, Objective
from searchers.space import Knob, Space

# Few values, so that equal ones, and each special one, meet one another often.
number = st.sampled_from([-math.inf, -1.0, 0.0, 5e-324, 0.5, 1.0, 2.0, 1e308, math.inf, math.nan])
NAMES = ("rps", "p99_ms", "error_rate")
measured = st.dictionaries(st.sampled_from(NAMES), number)
limits = st.dictionaries(st.sampled_from([*NAMES, "usd_per_hour"]), number, max_size=2)
objectives = st.builds(
    Objective, st.sampled_from([Expression("rps / usd_per_hour"), Expression("p99_ms")]), st.booleans(), limits, limits
)


def expected_value(objective: Objective, metrics: dict[str, float], usd: float) -> float | None:
    """By the words of the contract alone: all limits are measured and kept, and the value is positive and finite."""
    known = {**metrics, "usd_per_hour": usd}
    kept = [name in known and known[name] <= limit for name, limit in objective.at_most.items()]
    kept += [name in known and known[name] >= limit for name, limit in objective.at_least.items()]
    if not all(kept) or not objective.goal.names <= set(known):
        return None
    with np.errstate(all="ignore"):
        ratio = objective.goal.text != "p99_ms"
        figure = np.divide(np.float64(known["rps"]), usd) if ratio else np.float64(known["p99_ms"])
        value = np.divide(1, figure) if objective.minimize else figure
    return float(value) if np.isfinite([figure, value]).all() and figure > 0 else None


@settings(max_examples=400)
@given(objectives, measured, number)
@example(Objective(Expression("p99_ms"), at_least={"rps": -math.inf}), {"p99_ms": 1.0}, 1.0)
@example(Objective(Expression("rps / usd_per_hour"), at_most={"p99_ms": math.inf}), {"rps": 1.0}, 1.0)
@example(Objective(Expression("p99_ms"), minimize=True), {"p99_ms": 5e-324}, 1.0)
@example(Objective(Expression("p99_ms")), {}, 1.0)
def test_a_value_is_what_keeps_every_limit_and_is_positive_and_finite(objective, metrics, usd):
    assert objective.value(metrics, usd) == expected_value(objective, metrics, usd)


@settings(max_examples=400)
@given(limits, limits, measured)
def test_broken_names_each_limit_that_is_not_measured_or_not_kept(at_most, at_least, metrics):
    objective = Objective(Expression("rps"), at_most=at_most, at_least=at_least)
    too_high = [name for name in at_most if name not in metrics or not metrics[name] <= at_most[name]]
    too_low = [name for name in at_least if name not in metrics or not metrics[name] >= at_least[name]]
    assert objective.broken(metrics) == (*too_high, *too_low)


@settings(max_examples=400)
@given(objectives, st.lists(st.tuples(measured, number), min_size=1, max_size=6))
def test_values_of_many_are_the_value_of_each(objective, trials):
    """The vectorised form against the scalar one; NaN stands for what was not measured."""
    arrays = {name: np.array([metrics.get(name, math.nan) for metrics, _ in trials]) for name in NAMES}
    together = objective.values(arrays, np.array([usd for _, usd in trials]))
    assert together.tolist() == [objective.value(metrics, usd) or 0.0 for metrics, usd in trials]


def test_a_reciprocal_without_bound_does_not_count():
    least = Objective(Expression("p99_ms"), minimize=True)
    assert least.values({"p99_ms": np.array([5e-324, 2.0])}, np.ones(2)).tolist() == [0, 0.5]
    assert least.value({"p99_ms": 5e-324}) is None


def test_values_of_many_broadcast_samples_against_prices():
    objective = Objective(Expression("rps / usd_per_hour"), at_least={"rps": 3}, at_most={"usd_per_hour": 2})
    rps = np.array([[2.0, 3.0, 8.0], [4.0, 8.0, 8.0]])
    assert objective.values({"rps": rps}, np.array([1.0, 2.0, 4.0])).tolist() == [[0, 1.5, 0], [4, 4, 0]]
    with pytest.raises(KeyError, match="rps"):
        objective.values({}, np.ones(3))


def test_a_figure_is_in_its_own_unit_whatever_the_limits_and_nan_where_nothing_was_measured():
    cost = Objective(Expression("usd_per_hour / rps"), minimize=True, at_least={"rps": 100})
    assert cost.figure({"rps": 4.0}, 2.0) == 0.5
    assert math.isnan(cost.figure({}, 2.0)) and math.isnan(cost.figure({"rps": 4.0}))


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


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a + b", 8), ("a - b", 4), ("a * b", 12), ("a / b", 3), ("a ** b", 36), ("-a", -6), ("a - b - 1", 3),
     ("a / b / 3", 1), ("2 ** b ** 2", 16), ("a + b * 2", 10), ("(a + b) * 2", 16), ("-b ** 2", -4), ("1.5 * b", 3)],
)  # fmt: skip
def test_each_operator_is_pythons(text, expected):
    assert Expression(text)({"a": 6, "b": 2}) == expected


def test_an_expression_may_have_200_characters_and_no_infinite_number():
    assert Expression("a" * 200).names == {"a" * 200}
    with pytest.raises(ValueError, match="may have at most 200 characters; this one has 201"):
        Expression("a" * 201)
    with pytest.raises(ValueError, match="only"):
        Expression("a * 1e999")
    with pytest.raises(ValueError, match="names no metric"):
        Expression("1 + 2")


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
