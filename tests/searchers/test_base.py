"""The seam's small promises: what a history knows, and what a problem makes of it."""

import math

import numpy as np
import pytest

from searchers.base import ExpectedMetrics, History, Observation, Problem, Task
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


def expects(**changes) -> ExpectedMetrics:
    given: dict = {
        "by": "operators",
        "log_mean": {"rps": np.array([1.0, 2.0, 3.0])}, "log_std": {"rps": np.array([0.1, 0.2, 0.3])},
        "level_std": {"rps": 0.5}, "runs": np.array([1.0, 0.5, 0.0]),
    }  # fmt: skip
    return ExpectedMetrics(**{**given, **changes})


def test_what_is_expected_of_some_configurations_is_that_of_all_in_their_order():
    part = expects().at(np.array([2, 0]))
    assert part.log_mean["rps"].tolist() == [3.0, 1.0] and part.log_std["rps"].tolist() == [0.3, 0.1]
    assert part.by == "operators" and part.level_std == {"rps": 0.5} and len(part) == 2
    assert part.runs is not None and part.runs.tolist() == [0.0, 1.0]
    assert expects(runs=None).at(np.array([1])).runs is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"log_mean": {}, "log_std": {}}, "the same metrics, one or more; got \\[\\] and \\[\\]"),
        ({"log_std": {"p99_ms": np.ones(3)}}, r"got \['rps'\] and \['p99_ms'\]"),
        ({"log_std": {"rps": np.ones(2)}}, "expects of rps needs a finite mean and standard deviation for each of 3"),
        ({"log_mean": {"rps": np.array([1.0, np.nan, 3.0])}}, "nothing is known a large standard deviation"),
        ({"log_std": {"rps": np.array([0.1, -0.2, 0.3])}}, "rps has a standard deviation below 0"),
        ({"level_std": {"rps": -1.0}}, "rps has a standard deviation below 0"),
        ({"level_std": {"p99_ms": 1.0}}, "a `level_std` of p99_ms, but no `log_mean` of it"),
        ({"runs": np.array([1.0, 2.0, 0.0])}, "`runs` by operators needs a probability for each of 3"),
        ({"runs": np.array([1.0, 0.0])}, "`runs` by operators needs a probability for each of 3"),
    ],
)
def test_what_cannot_be_expected_is_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        expects(**changes)


def test_a_problem_takes_what_is_expected_of_all_its_configurations_only():
    assert Problem(SPACE, GOAL, expected=expects()).expected is not None
    with pytest.raises(ValueError, match="operators expects is of 2 configurations; the space has 3"):
        Problem(SPACE, GOAL, expected=expects().at(np.array([0, 1])))
