"""Rates under limits beside the run's own: whatever keeps a tighter limit keeps a looser one."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raytune_infer.ranking.known_rates import known_rate
from raytune_infer.ranking.rate_bounds import Limits
from tests.raytune_infer.ranking.ranked_trials import level, ranked, trial

HELD = 100.0
# The trial found 350 requests/s; one level kept the limit at 600 by luck, as a longer one at 500 broke it.
LUCKY = (level(300, 40), level(400, 45), level(500, 130), level(600, 50), level(650, 55))


def rate(*trials, p99_ms: float, opened: bool = True):
    return known_rate(trials, Limits({"p99_ms": p99_ms}, {"p99_ms": HELD}), 0.1, None, opened=opened)


@pytest.mark.parametrize(
    ("at_most", "held_under", "tighter", "looser"),
    [
        ({"p99_ms": 99}, {"p99_ms": 100}, True, False),
        ({"p99_ms": 101}, {"p99_ms": 100}, False, True),
        ({"p99_ms": 100}, {"p99_ms": 100}, True, True),
        ({"p99_ms": 100, "p50_ms": 10}, {"p99_ms": 100}, True, False),
        ({}, {"p99_ms": 100}, False, True),
        ({"p50_ms": 10}, {"p99_ms": 100}, False, False),
        ({"p99_ms": 90, "error_rate": 0.2}, {"p99_ms": 100, "error_rate": 0.1}, False, False),
    ],
)
def test_limits_are_tighter_or_looser_only_if_every_one_is(at_most, held_under, tighter, looser):
    limits = Limits(at_most, held_under)
    assert (limits.tighter, limits.looser) == (tighter, looser)
    assert limits.of_the_run.unchanged


def test_a_lucky_level_gives_a_tighter_limit_no_higher_rate_than_the_run_found():
    own = trial(1, 0, *LUCKY, rps=350.0, reported=0, interval_rps=(330.0, 370.0))
    held, tighter = rate(own, p99_ms=HELD), rate(own, p99_ms=99)
    assert held.at_least_rps == tighter.at_least_rps == 350 and tighter.interval_rps == (330.0, 370.0)
    assert (tighter.at_most_rps, tighter.resolved, tighter.contradicted) == (350, True, 1)
    assert rate(own, p99_ms=42).at_least_rps == 300  # by its levels, as they are below what the run found
    # A looser one may have a higher rate, but not by a leap for one per cent.
    assert rate(own, p99_ms=101).at_least_rps == 350 and 350 < rate(own, p99_ms=101).estimate_rps < 360


def test_a_trial_that_ended_early_bounds_a_tighter_limit_by_what_it_showed():
    early = trial(1, 0, *LUCKY, rps=350.0, reported=0, interval_rps=(250.0, 420.0), ended_early=True)
    assert rate(early, p99_ms=99).at_least_rps == rate(early, p99_ms=HELD).at_least_rps == 300


def test_a_looser_limit_gives_no_lower_rate_than_the_run_found():
    own = trial(1, 0, level(300, 40), level(400, 400), rps=350.0, reported=0, interval_rps=(330.0, 370.0))
    looser = rate(own, p99_ms=110)
    assert (looser.at_least_rps, looser.at_most_rps, looser.resolved) == (350, 400, False)
    assert looser.interval_rps == (330.0, 370.0)
    assert 350 <= looser.estimate_rps <= rate(own, p99_ms=150).estimate_rps < 400


def test_the_rounds_of_the_comparison_say_what_a_tighter_limit_can_reach_at_most():
    def final(number, rps):
        one = trial(number, 0, level(rps, 60), rps=rps, purpose="final", reported=0)
        return replace(one, outcome=replace(one.outcome, metrics={"rps": rps, "p99_ms": 60.0}))

    trials = (trial(1, 0, *LUCKY, rps=600.0, reported=3), final(2, 200.0), final(3, 200.0))
    [held], [tighter] = (ranked(*trials, p99_ms=limit).ranked for limit in (HELD, 99.0))
    assert held.known.at_least_rps == tighter.known.at_least_rps == pytest.approx(200)
    assert tighter.compared is None  # the question is another one


@given(
    st.lists(st.tuples(st.integers(10, 400), st.floats(10, 300)), min_size=1, max_size=7, unique_by=lambda at: at[0]),
    st.integers(5, 500),
    st.tuples(st.floats(5, 300), st.floats(5, 300), st.booleans()),
    st.booleans(),
)
def test_the_tighter_of_two_limits_never_has_the_higher_rate(cells, rps, limits, early):
    interval = (0.9 * rps, 1.1 * rps)
    one = trial(1, 0, *(level(*at) for at in cells), rps=rps, reported=0, interval_rps=interval, ended_early=early)
    low, high, with_own = limits
    low, high = sorted((low, HELD if with_own else high))
    assert rate(one, p99_ms=low).at_least_rps <= rate(one, p99_ms=high).at_least_rps * (1 + 1e-9)
