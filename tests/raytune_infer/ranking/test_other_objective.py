"""Another goal or other bounds for a finished run: what changes, what stays, and what is refused."""

import math

import pytest

from raytune_infer.errors import UserError
from raytune_infer.ranking.other_objective import bounds, changed
from searchers.objective import Expression, Objective

OWN = Objective(Expression("rps / usd_per_hour"), at_most={"p99_ms": 100.0, "error_rate": 0.01}, at_least={"rps": 20.0})


def test_what_is_not_named_stays_as_it_was():
    assert changed(OWN) == changed(OWN, limits={}, at_least={}) == OWN
    cheapest = Objective(Expression("usd_per_hour"), minimize=True, at_least={"rps": 20.0})
    assert changed(cheapest, at_least={"rps": 30}).minimize


def test_a_limit_is_the_most_and_a_demand_the_least_that_counts():
    new = changed(OWN, limits={"p99_ms": 50, "p97_ms": 40}, at_least={"p50_ms": 1})
    assert new.at_most == {"p99_ms": 50, "error_rate": 0.01, "p97_ms": 40}
    assert new.at_least == {"rps": 20.0, "p50_ms": 1}
    assert new.goal == OWN.goal and not new.minimize
    assert OWN.at_most == {"p99_ms": 100.0, "error_rate": 0.01}  # the run's own is left alone


def test_none_takes_a_bound_away_and_0_does_not():
    assert changed(OWN, limits={"p99_ms": None}).at_most == {"error_rate": 0.01}
    assert changed(OWN, limits={"error_rate": 0}).at_most == {"p99_ms": 100.0, "error_rate": 0}
    assert changed(OWN, at_least={"rps": None}).at_least == {}
    assert changed(OWN, limits={"p50_ms": None}).at_most == OWN.at_most


def test_another_goal_comes_with_its_direction():
    cheapest = changed(OWN, minimize="usd_per_hour")
    assert cheapest.goal == Expression("usd_per_hour") and cheapest.minimize and cheapest.at_most == OWN.at_most
    fastest = changed(cheapest, maximize="rps")
    assert fastest.goal == Expression("rps") and not fastest.minimize
    assert changed(OWN, maximize="rps / p9995_ms", at_least={"rps": None}).goal.text == "rps / p9995_ms"


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"maximize": "rps", "minimize": "p99_ms"}, "'rps' is to be maximised and 'p99_ms' minimised; give one goal"),
        ({"limits": {"rps": 5}}, "for rps give a lower bound with `--at-least rps="),
        ({"limits": {"speed": 5}}, r"'speed' is not measured; there are rps, p50_ms.*, usd_per_hour, and any other"),
        ({"limits": {"p99_ms": -1}}, "the bound of p99_ms must be a number, 0 or more, got -1"),
        ({"limits": {"p99_ms": math.inf}}, "must be a number, 0 or more, got inf"),
        ({"limits": {"p99_ms": math.nan}}, "must be a number, 0 or more, got nan"),
        ({"limits": {"joules": None}}, "'joules' is not measured"),
        ({"at_least": {"joules": 1}}, "'joules' is not measured"),
        ({"at_least": {"rps": -1}}, "the bound of rps must be a number"),
        ({"maximize": "rps / joules"}, "'joules' is not measured"),
        ({"minimize": "rps +"}, "not an arithmetic expression"),
        ({"minimize": ""}, "not an arithmetic expression"),
        # Its own `at_least` is on rps.
        ({"minimize": "p99_ms"}, "^p99_ms is measured at .*, not at 20 requests/s; maximize .*--at-least rps=none`$"),
        ({"maximize": "rps / p97_ms", "at_least": {"rps": 30}}, "^p97_ms is measured .*, not at 30 requests/s"),
    ],
)
def test_what_cannot_be_is_refused_in_words(asked, says):
    with pytest.raises(UserError, match=says) as caught:
        changed(OWN, **asked)
    assert caught.value.__cause__ is None


def test_a_latency_is_optimised_where_no_rate_is_asked_for_and_what_a_run_asked_itself_is_read():
    assert changed(OWN, minimize="p99_ms", at_least={"rps": None}).at_least == {}
    assert changed(OWN, minimize="usd_per_hour", at_least={"rps": 30}).at_least == {"rps": 30}
    old = Objective(Expression("p99_ms"), minimize=True, at_least={"rps": 20.0})
    assert changed(old) == old
    with pytest.raises(UserError, match="not at 25 requests/s"):
        changed(old, at_least={"rps": 25})


def test_bounds_as_they_are_typed():
    assert bounds([], "--limit") == {}
    found = bounds(["p99_ms=50", " error_rate = none ", "p50_ms=1e1", "usd_per_hour=0"], "--limit")
    assert found == {"p99_ms": 50.0, "error_rate": None, "p50_ms": 10.0, "usd_per_hour": 0.0}


@pytest.mark.parametrize("text", ["p99_ms", "p99_ms=", "=5", "p99_ms=fast", "p99_ms=nan", "", "none", "=none"])
def test_what_is_no_bound_is_refused_with_the_option_that_it_came_by(text):
    with pytest.raises(UserError, match=r"--at-least .*as in `--at-least p99_ms=50`"):
        bounds([text], "--at-least")


def test_a_metric_is_named_once():
    with pytest.raises(UserError, match="--limit names p99_ms twice"):
        bounds(["p99_ms=5", "rps=1", "p99_ms=none"], "--limit")
