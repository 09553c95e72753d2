"""What of a trial's metrics is modelled, and how samples become values again."""

import math

import numpy as np
import pytest

from searchers.base import Observation, Problem
from searchers.meta.metric_model import FEASIBLE, MetricModel, metric_model_of, values
from searchers.objective import Expression, Objective
from searchers.space import Knob, Space

SPACE = Space([Knob("k", (1, 2, 3))])


def test_each_position_once_with_the_mean_logarithm_of_what_was_measured_there():
    observed = [Observation(2, {"rps": 1.0}), Observation(0, {"rps": math.e}), Observation(2, {"rps": math.e**2})]
    at, y = MetricModel(("rps",)).measured(observed, "rps")
    assert at.tolist() == [2, 0] and y == pytest.approx([1, 1]) and at.dtype == int


@pytest.mark.parametrize("metrics", [None, {}, {"rps": 0.0}, {"rps": -1.0}, {"rps": math.inf}, {"rps": math.nan},
                                     {"p99_ms": 3.0}])  # fmt: skip
def test_what_has_no_logarithm_was_not_measured(metrics):
    at, y = MetricModel(("rps",)).measured([Observation(1, metrics), Observation(0, {"rps": 1.0})], "rps")
    assert at.tolist() == [0] and y.tolist() == [0]


def test_one_metric_is_read_without_another():
    observed = [Observation(0, {"rps": 1.0, "p99_ms": math.e}), Observation(1, {"p99_ms": 1.0})]
    metric_model = MetricModel(("p99_ms", "rps"))
    assert metric_model.measured(observed, "rps")[0].tolist() == [0]
    assert metric_model.measured(observed, "p99_ms")[0].tolist() == [0, 1]
    assert metric_model.measured(observed, "p99_ms")[1].tolist() == [1, 0]


def test_a_trial_runs_if_it_ended_and_keeps_the_limits_on_shares():
    metric_model = MetricModel(("rps",), (("error_rate", -math.inf, 0.01), ("timeouts", -math.inf, 2.0)))
    rows = [None, {"rps": 1.0}, {"error_rate": 0.01}, {"error_rate": 0.02}, {"error_rate": 0.0, "timeouts": 3.0}, {}]
    at, y = metric_model.measured((Observation(i, m) for i, m in enumerate(rows)), FEASIBLE)
    assert at.tolist() == list(range(6)) and y.tolist() == [-1, 1, 1, -1, -1, 1]
    at, y = metric_model.measured([Observation(0, None), Observation(0, {"rps": 1.0})], FEASIBLE)
    assert at.tolist() == [0] and y.tolist() == [0]


def test_nothing_observed_is_nothing_measured():
    for quantity in ("rps", FEASIBLE):
        at, y = MetricModel(("rps",)).measured([], quantity)
        assert at.shape == y.shape == (0,) and at.dtype == int


def test_metrics_are_those_of_the_goal_and_of_limits_but_the_price_shares_and_what_the_load_keeps():
    objective = Objective(
        Expression("rps / usd_per_hour"), True,
        at_most={"p99_ms": 100, "error_rate": 0.01, "dropped": 0.5, "ttft_ms": 9, "usd_per_hour": 3},
        at_least={"tokens_per_s": 5, "slack_ms": 1},
    )  # fmt: skip
    metric_model, over = metric_model_of(Problem(SPACE, objective, kept=frozenset({"p99_ms", "slack_ms"})))
    assert metric_model.metrics == ("rps", "tokens_per_s", "ttft_ms")
    assert metric_model.shares == (("dropped", -math.inf, 0.5), ("error_rate", -math.inf, 0.01))
    assert metric_model.quantities == ("rps", "tokens_per_s", "ttft_ms", FEASIBLE)
    assert over.at_most == {"ttft_ms": 9, "usd_per_hour": 3} and over.at_least == {"tokens_per_s": 5}
    assert over.goal == objective.goal and over.minimize


@pytest.mark.parametrize("name", ["error_rate", "failed", "dropped_share", "timeouts", "rejected"])
def test_every_share_of_requests_is_part_of_whether_it_runs(name):
    metric_model, over = metric_model_of(Problem(SPACE, Objective(Expression("rps"), at_most={name: 0.1})))
    assert metric_model.metrics == ("rps",) and metric_model.shares == ((name, -math.inf, 0.1),) and not over.at_most


def test_a_share_with_any_name_and_either_limit_is_part_of_whether_it_runs_where_it_is_known_to_be_one():
    objective = Objective(
        Expression("rps"), at_most={"slow_share": 0.1, "errors_ms": 5}, at_least={"answers_same": 0.9}
    )
    problem = Problem(SPACE, objective, shares=frozenset({"slow_share", "answers_same"}))
    metric_model, over = metric_model_of(problem)
    assert metric_model.metrics == ("errors_ms", "rps") and over.limited == ("errors_ms",)
    assert metric_model.shares == (("answers_same", 0.9, math.inf), ("slow_share", -math.inf, 0.1))
    metrics = [{"slow_share": 0.1, "answers_same": 0.9}, {"slow_share": 0.2}, {"answers_same": 0.8}, {}, None]
    runs = metric_model.measured([Observation(i, m) for i, m in enumerate(metrics)], FEASIBLE)[1]
    assert runs.tolist() == [1, -1, -1, 1, -1]


def test_values_are_those_of_the_exponentials_where_it_runs():
    objective = Objective(Expression("rps / usd_per_hour"), at_most={"p99_ms": 100})
    drawn = {
        "rps": np.log([[2.0, 8.0, 6.0], [4.0, 1.0, 6.0]]),
        "p99_ms": np.log([[99.0, 101.0, 1.0], [101.0, 99.0, 1.0]]),
        FEASIBLE: np.array([[0.1, 1.0, 0.0], [1.0, 0.5, -1.0]]),
    }
    found = values(objective, drawn, np.array([1.0, 2.0, 3.0]))
    assert found == pytest.approx(np.array([[2, 0, 0], [0, 0.5, 0]]))


def test_values_of_absurd_samples_are_finite():
    found = values(
        Objective(Expression("rps")), {"rps": np.array([[900.0, -900.0]]), FEASIBLE: np.ones((1, 2))}, np.ones(2)
    )
    assert np.log(found) == pytest.approx(np.array([[50.0, -50.0]]))  # as logarithms: next to e^50 anything is 0
