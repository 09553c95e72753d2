"""The seam's small promises: what a history knows, and what a problem makes of it."""

import math

import numpy as np
import pytest

from searchers.base import History, Observation, Problem, Task
from searchers.objective import Expression, Objective
from searchers.space import Knob, Space

SPACE = Space([Knob("k", (1, 2, 3))])
GOAL = Objective(Expression("rps / usd_per_hour"), at_most={"p99_ms": 10})
PRICE = Problem(SPACE, GOAL, np.array([1.0, 2.0, 4.0]))


def test_what_is_observed_is_no_longer_pending_and_both_are_taken():
    history = History().await_(0).await_(2)
    assert history.pending == {0, 2} and history.taken == {0, 2} and history.observed == ()
    later = history.observe(2, {"rps": 5.0}).observe(1, None)
    assert later.pending == {0} and later.taken == {0, 1, 2}
    assert later.observed == (Observation(2, {"rps": 5.0}), Observation(1, None))
    assert later.await_(1).observed == later.observed
    assert history.pending == {0, 2}  # the earlier one is as it was


def test_each_configuration_is_valued_at_its_own_price():
    history = History()
    for position in (2, 0, 1):
        history = history.observe(position, {"rps": 8.0, "p99_ms": 1.0})
    assert PRICE.values(history).tolist() == [2, 8, 4]
    assert PRICE.best(history) == history.observed[1]


def test_what_failed_or_broke_a_limit_has_the_value_0_and_is_never_the_best():
    history = (
        History().observe(0, None).observe(1, {"rps": 99.0, "p99_ms": 11.0}).observe(2, {"rps": 4.0, "p99_ms": 9.0})
    )
    assert PRICE.values(history).tolist() == [0, 0, 1]
    assert [PRICE.value(o) for o in history.observed] == [None, None, 1.0]
    assert PRICE.best(history) == history.observed[2]
    assert PRICE.best(History().observe(0, None)) is None and PRICE.best(History()) is None


def test_the_earliest_of_equals_is_the_best():
    tied = History().observe(1, {"rps": 4.0, "p99_ms": 1.0}).observe(0, {"rps": 2.0, "p99_ms": 1.0})
    best = PRICE.best(tied)
    assert best is not None and best.position == 1


def test_without_prices_a_goal_by_price_has_no_value():
    unpriced = Problem(SPACE, GOAL)
    assert unpriced.usd_per_hour.shape == (3,) and np.isnan(unpriced.usd_per_hour).all()
    assert unpriced.value(Observation(0, {"rps": 1.0, "p99_ms": 1.0})) is None
    assert Problem(SPACE, Objective(Expression("rps"))).value(Observation(0, {"rps": 3.0})) == 3


def test_prices_must_be_as_many_as_configurations():
    with pytest.raises(ValueError, match=r"one price for each of the 3 configurations; its shape is \(2,\)"):
        Problem(SPACE, GOAL, np.ones(2))


def test_a_problem_assumes_a_noise_of_three_percent_and_nothing_else():
    assert math.isclose(PRICE.noise, 0.03) and PRICE.sources == () and PRICE.facts == {} and PRICE.kept == set()


def test_a_task_is_its_own_group_unless_told_otherwise_and_equal_only_to_itself():
    alone, other = Task("a", SPACE, ()), Task("a", SPACE, (), group="g")
    assert alone.group == "a" and other.group == "g"
    assert alone != Task("a", SPACE, ()) and alone.facts == {}
