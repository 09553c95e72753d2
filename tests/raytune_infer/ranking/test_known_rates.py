"""Rates under limits beside the run's own: whatever keeps a tighter limit keeps a looser one."""

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from raytune_infer.ranking.known_rates import known_rate
from raytune_infer.ranking.limits import Limits
from raytune_infer.ranking.rate_bounds import arrivals_within
from tests.raytune_infer.ranking.ranked_trials import level, ranked, trial

HELD = 100.0
# The trial found 350 requests/s; one level kept the limit at 600 by luck, as a longer one at 500 broke it.
LUCKY = (level(300, 40), level(400, 45), level(500, 130), level(600, 50), level(650, 55))


def rate(*trials, p99_ms: float, opened: bool = True):
    return known_rate(trials, Limits({"p99_ms": p99_ms}, {"p99_ms": HELD}), 0.1, None, opened=opened)


@pytest.mark.parametrize(
    ("at_most", "held_under", "loosened"),
    [
        ({"p99_ms": 99}, {"p99_ms": 100}, {"p99_ms": 100}),
        ({"p99_ms": 101}, {"p99_ms": 100}, {"p99_ms": 101}),
        ({"p99_ms": 100, "p50_ms": 10}, {"p99_ms": 100}, {"p99_ms": 100}),
        ({}, {"p99_ms": 100}, {}),
        ({"p50_ms": 10}, {"p99_ms": 100}, {}),
        ({"p99_ms": 90, "error_rate": 0.2}, {"p99_ms": 100, "error_rate": 0.1}, {"p99_ms": 100, "error_rate": 0.2}),
    ],
)
def test_what_limits_loosen_of_the_runs_is_kept_by_whatever_keeps_the_runs_or_these(at_most, held_under, loosened):
    limits = Limits(at_most, held_under)
    assert limits.loosened == Limits(loosened, held_under) and limits.of_the_run.unchanged
    assert limits.loosened.unchanged is (loosened == held_under)


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


# --- bounds that knowledge makes better, never worse


def closed(number: int, rps: float, p99_ms: float, **more):
    return level(rps, p99_ms, clients=number, **more)


def test_what_clients_broke_bounds_a_looser_limit_whatever_level_lies_above():
    """The run found 200 under 100 ms; 64 clients broke even 110 ms, and arrivals were tried far above only."""
    far = level(894, 900, overloaded=True, fell_behind=True, achieved_rps=215.0)
    held = (level(150, 60), level(200, 95), far, closed(1, 90, 11), closed(8, 222, 130))
    own = trial(1, 0, *held, rps=200.0, reported=1, interval_rps=(190.0, 212.0))
    looser = rate(own, p99_ms=110)
    assert (looser.at_least_rps, looser.at_most_rps, looser.resolved) == (200, 222, False)
    assert 200 <= looser.estimate_rps <= 222
    # Clients that broke only what is loosened bound nothing; what the far level could not do still does.
    assert rate(own, p99_ms=140).at_most_rps == 894


def test_what_more_clients_no_longer_raised_is_what_the_replica_can_do():
    """No limit moves it, so it also keeps all levels together from a rate far above."""
    slow = [closed(1, 90, 11), closed(8, 200, 30), closed(64, 205, 300)]
    held = (level(100, 30), level(150, 60), level(190, 95), *slow)
    own = trial(1, 0, *held, rps=190.0, reported=2, interval_rps=(180.0, 200.0))
    loose = rate(own, p99_ms=1000)
    assert loose.at_most_rps == pytest.approx(1.05 * 205) and loose.at_least_rps == 190
    # With a busy load generator clients show what that can do.
    busy = (*held[:5], replace(held[5], client_limited=True))
    other = trial(1, 0, *busy, rps=190.0, reported=2, interval_rps=(180.0, 200.0))
    assert rate(other, p99_ms=1000).at_most_rps == float("inf")


a_load = st.builds(
    lambda rps, p99_ms, part, errors, overloaded, mode, completed: level(
        rps, p99_ms, p50_ms=part * p99_ms, error_rate=errors, overloaded=overloaded and mode is None,
        clients=None if mode is None else 2**mode, completed=completed, achieved_rps=0.97 * rps,
        rate_rps=0.97 * rps if overloaded else rps,
    ),
    st.integers(10, 900), st.floats(5, 900), st.floats(0.1, 0.9), st.floats(0, 0.04), st.booleans(),
    st.sampled_from([None, None, None, 0, 3, 6]), st.integers(0, 4000),
)  # fmt: skip
loads = st.lists(a_load, min_size=1, max_size=7).filter(lambda some: any(at.mode == "open" for at in some))
a_limit = st.floats(4, 1500)


def searched(levels, part: float, spread: float, early: bool):
    """A trial that found some part of its highest level, in an interval as wide as that."""
    rps = part * max(at.rate_rps for at in levels)
    ends = (rps / (1 + spread), rps * (1 + spread))
    return trial(1, 0, *levels, rps=rps, reported=0, interval_rps=ends, ended_early=early)


trials = st.builds(searched, loads, st.floats(0.2, 1.2), st.floats(0.0, 0.5), st.booleans())


def asked(one, *, opened: bool = True, held=(("p99_ms", 300.0), ("error_rate", 0.1)), **at_most):
    return known_rate([one], Limits(at_most, dict(held)), 0.05, None, opened=opened)


@given(trials, a_limit, a_limit, st.booleans())
def test_a_looser_limit_has_no_lower_rate_and_no_lower_bound(one, low, high, opened):
    low, high = sorted((low, high))
    tight, loose = (asked(one, opened=opened, p99_ms=at, error_rate=0.1) for at in (low, high))
    tie = 0.98  # of rates of clients that are closer the one of fewer clients stands
    assert tight.at_least_rps * (1.0 if opened else tie) <= loose.at_least_rps * (1 + 1e-9)
    if opened and not loose.resolved:  # of a rate that is known its bound is the rate itself, without its interval
        assert tight.at_most_rps <= loose.at_most_rps * (1 + 1e-9)


@given(trials, a_limit)
def test_all_levels_together_raise_no_bound_that_a_level_gives(one, limit):
    """But for a rate that the run or a level itself has shown above it."""
    loose, levels = max(limit, 301.0), one.outcome.levels
    limits = Limits({"p99_ms": loose, "error_rate": 0.1}, {"p99_ms": 300.0, "error_rate": 0.1})
    assume(not limits.that_bound(levels).unchanged)
    known, alone = asked(one, p99_ms=loose, error_rate=0.1), arrivals_within(levels, limits, 0.05)
    shown = max(alone.at_most_rps, known.at_least_rps)
    assert known.at_most_rps <= shown * (1 + 1e-9)


@given(trials, a_limit)
def test_a_limit_that_bound_no_level_is_lifted_and_nothing_changes(one, limit):
    """Errors are at most 4 %, and the run allowed 10 % of them; a p50 beside it, of which all is far below, too."""
    for limits in ({"p99_ms": 300.0}, {"p99_ms": limit}, {"p99_ms": limit, "p50_ms": 20.0}):
        lifted, held = asked(one, **limits), asked(one, **limits, error_rate=0.1)
        assert lifted == held == asked(one, **limits, error_rate=0.09)
    if not any(at.overloaded for at in one.outcome.levels):
        assert asked(one, p99_ms=limit, p50_ms=2000.0) == asked(one, p99_ms=limit)


def test_nor_does_it_change_an_estimate_of_a_run_without_errors():
    """Of a few requests a share of none is hardly known, and was taken for a limit that may well break."""
    held = {"p99_ms": 100.0, "error_rate": 0.01}
    short = [level(rps, p99_ms, completed=60, error_rate=0.0) for rps, p99_ms in ((50, 40), (100, 60), (200, 105))]
    one = trial(1, 0, *short, rps=170.0, reported=1, interval_rps=(120.0, 240.0), ended_early=True)
    for p99_ms in (100.0, 101.0, 150.0):
        lifted, kept = (
            known_rate([one], Limits({"p99_ms": p99_ms, **more}, held), 0.05, None, opened=True)
            for more in ({}, {"error_rate": 0.01})
        )
        assert lifted == kept
    assert known_rate([one], Limits({"p99_ms": 100.0}, held), 0.05, None, opened=True).estimate_rps == 170.0


def test_a_limit_that_a_level_came_near_is_another_question():
    """At 60 ms of 100 the level shows what happens above; at 50 it does not, and neither does one overloaded."""
    for p99_ms, overloaded, same in ((60.0, False, False), (50.0, False, True), (50.0, True, False)):
        bound = Limits({}, {"p99_ms": 100.0}).that_bound([level(100, p99_ms, overloaded=overloaded)])
        assert bound.unchanged is same
    # Of errors an overloaded level has as many as it has; and one without a value says nothing.
    over = level(100, 50, overloaded=True, error_rate=0.001)
    assert Limits({}, {"error_rate": 0.01}).that_bound([over]) == Limits({}, {})
    assert not Limits({}, {"p90_ms": 100.0}).that_bound([level(100, 50)]).unchanged
    # A tighter limit of the same name binds by itself.
    assert Limits({"p99_ms": 80.0}, {"p99_ms": 100.0}).that_bound([level(100, 45)]).at_most == {"p99_ms": 80.0}


def test_a_tighter_limit_is_bounded_by_what_the_run_found():
    own = trial(1, 0, level(300, 40), level(400, 90), rps=350.0, reported=0, interval_rps=(330.0, 370.0))
    tighter = rate(own, p99_ms=50)
    assert (tighter.at_least_rps, tighter.at_most_rps, tighter.resolved) == (300, 370, False)
    assert 300 <= tighter.estimate_rps <= 370
    # Where that is as near as a trial of the run comes, a new one would find nothing more.
    sure = trial(1, 0, level(300, 40), level(400, 90), rps=315.0, reported=0, interval_rps=(305.0, 325.0))
    assert rate(sure, p99_ms=50).resolved and rate(sure, p99_ms=50).at_most_rps == 325
