"""What operators' curves lead a searcher to expect, on a device whose law is known, and what it finds with that."""

import numpy as np
import pytest

from cluster.operators.curves.point import Resources
from raytune_infer.operators.expected_metrics import BY, expected_metrics
from raytune_infer.operators.prediction import NoPrediction, Predictor
from searchers.base import Problem
from searchers.objective import Expression, Objective
from searchers.registry import named
from searchers.replay import MeasuredTable, replay
from searchers.space import Knob, Space
from tests.raytune_infer.operators.test_prediction_from_curves import curves, profile, whole

SPACE = Space([
    Knob("max_batch_size", (1, 2, 4, 8, 16)), Knob("precision", ("float32", "bfloat16", "float16"), "categorical"),
    Knob("cpu_cores", (1, 2)),
])  # fmt: skip
SECONDS = np.array([
    whole(Resources(int(c["max_batch_size"]), str(c["precision"]), int(c["cpu_cores"]), int(c["cpu_cores"])))
    for c in map(SPACE.__getitem__, range(30))
])  # fmt: skip
BATCH = np.array([float(SPACE[i]["max_batch_size"]) for i in range(30)])
KNOWN = np.array([SPACE[i]["precision"] != "float16" for i in range(30)])  # there is no curve of float16
GOAL = Objective(Expression("rps / usd_per_hour"), at_most={"p99_ms": 1e6, "error_rate": 0.1})
PREDICTOR = Predictor(profile(), curves())


def asked(objective: Objective = GOAL, **more) -> Problem:
    return Problem(SPACE, objective, np.array([float(SPACE[i]["cpu_cores"]) for i in range(30)]), **more)


def test_rates_follow_batches_per_second_and_latencies_the_time_of_a_batch():
    found = expected_metrics(asked(), PREDICTOR, profile())
    assert found.by == BY and found.log_mean.keys() == {"rps", "p99_ms"} and found.level_std == {}
    rates, latencies = np.log(BATCH / SECONDS)[KNOWN], np.log(SECONDS)[KNOWN]
    assert found.log_mean["rps"][KNOWN] == pytest.approx(rates, abs=0.02)
    assert found.log_mean["p99_ms"][KNOWN] == pytest.approx(latencies, abs=0.02)
    assert (0.2 <= found.log_std["rps"][KNOWN]).all() and (found.log_std["rps"][KNOWN] < 0.25).all()


def test_of_resources_that_no_curve_has_it_expects_the_mean_and_little():
    found = expected_metrics(asked(), PREDICTOR, profile())
    assert found.log_mean["rps"][~KNOWN] == pytest.approx(found.log_mean["rps"][KNOWN].mean())
    assert (found.log_std["rps"][~KNOWN] == 2.0).all()


def test_what_the_load_test_keeps_and_what_a_batch_does_not_tell_are_left_out():
    kept = expected_metrics(asked(kept=frozenset({"p99_ms"})), PREDICTOR, profile())
    assert kept.log_mean.keys() == {"rps"}
    tokens = Objective(Expression("rps"), at_most={"ttft_p99_ms": 100.0, "tpot_mean_ms": 10.0})
    assert expected_metrics(asked(tokens), PREDICTOR, profile()).log_mean.keys() == {"rps"}


def test_where_nothing_is_predicted_it_says_why():
    cheap = Objective(Expression("usd_per_hour"), minimize=True, at_most={"error_rate": 0.1})
    with pytest.raises(NoPrediction, match="operators tell nothing of error_rate, only of rates and latencies"):
        expected_metrics(asked(cheap), PREDICTOR, profile())
    half = Space([Knob("precision", ("float16",), "categorical"), Knob("max_batch_size", (1, 2))])
    with pytest.raises(NoPrediction, match="no curve has the resources of any of the 2 configurations; measure"):
        expected_metrics(Problem(half, Objective(Expression("rps"))), PREDICTOR, profile())


@pytest.mark.parametrize("name", ["meta", "falcon"])
def test_a_service_that_adds_a_factor_of_its_own_is_found_at_once(name):
    problem = asked()
    told = asked(expected=expected_metrics(problem, PREDICTOR, profile()))
    metrics = tuple(
        {"rps": 0.4 * b / s, "p99_ms": 5e3 * s, "error_rate": 0.0} if known else None
        for b, s, known in zip(BATCH.tolist(), SECONDS.tolist(), KNOWN.tolist(), strict=True)
    )
    table = MeasuredTable(told, metrics)
    best = max(step.value or 0.0 for step in replay(table, named(name)(told), budget=2, seed=0))
    assert best > 0.95 * table.values().max()
