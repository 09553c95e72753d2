"""The rate that wins is the one at which the objective's value is the best so far."""

import math

import pytest

from raytune_infer.to_beat import rate_to_beat
from searchers.objective import Expression, Objective


@pytest.mark.parametrize(
    ("goal", "minimize", "needed"),
    [
        ("rps / usd_per_hour", False, 300.0),
        ("rps", False, 300.0),
        ("usd_per_hour / rps", True, 300.0),
        ("rps ** 0.5 / usd_per_hour", False, 300.0),
        ("rps - 100 * usd_per_hour", False, None),  # negative at low rates: no value there, so none to compare
        ("rps / p99_ms", False, None),
        ("1 / p99_ms", False, None),
        ("usd_per_hour", True, None),
        ("rps", True, None),  # the less the better
    ],
)
def test_the_rate_that_gives_the_best_value(goal, minimize, needed):
    objective = Objective(Expression(goal), minimize=minimize)
    best = objective.value({"rps": 300.0, "p99_ms": 5.0}, 2.0)
    found = rate_to_beat(objective, 2.0, best)
    assert found is None if needed is None else found == pytest.approx(needed)
    if needed:
        assert objective.value({"rps": found * 1.001, "p99_ms": 5.0}, 2.0) > best


def test_twice_the_price_needs_twice_the_rate_and_an_unknown_price_says_nothing():
    objective = Objective(Expression("rps / usd_per_hour"))
    assert rate_to_beat(objective, 4.0, 150.0) == pytest.approx(600.0)
    assert rate_to_beat(objective, math.nan, 150.0) is None
    assert rate_to_beat(objective, 4.0, None) is None


def test_a_rate_that_does_not_count_does_not_win():
    objective = Objective(Expression("rps / usd_per_hour"), at_least={"rps": 50.0})
    assert rate_to_beat(objective, 0.1, 150.0) == 50.0
