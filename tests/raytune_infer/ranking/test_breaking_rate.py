"""Where limits break by all levels of a configuration together: a function of the limit without jumps, and no luck."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raytune_infer.ranking.breaking_rate import BreakingRate, FoundRate
from raytune_infer.ranking.known_rates import known_rate
from raytune_infer.ranking.level_evidence import level_evidence
from raytune_infer.ranking.limits import Limits
from serve_deployments.measuring.statistics.rate_posterior import RatePosterior
from tests.raytune_infer.ranking.ranked_trials import level, trial

HELD = {"p99_ms": 300.0}
CAPACITY_RPS = 367.0 + math.log(100) / 0.3
"""Of an M/M/1 queue whose p99 is 300 ms at 367 requests/s."""


def queue_level(rps: float, **more):
    """A level of such a queue, without any luck."""
    return level(rps, 1e3 * math.log(100) / (CAPACITY_RPS - rps), **{"completed": 3000, **more})


LEVELS = (queue_level(280), queue_level(330), queue_level(350), queue_level(362), queue_level(371))
LUCKY = level(668, 250, completed=130)
"""A short one far above, whose p99 is no more than the largest but one of its latencies."""

OVER = level(450, 900, overloaded=True, fell_behind=True, completed=500, achieved_rps=378.0)


def rate(levels, p99_ms: float, found=None) -> float:
    return BreakingRate(levels, HELD, found).under({"p99_ms": p99_ms})[0]


@pytest.mark.parametrize("p99_ms", [150.0, 200.0, 250.0, 300.0, 350.0, 500.0])
def test_the_rate_is_that_of_the_queue(p99_ms):
    assert rate((*LEVELS, OVER), p99_ms) == pytest.approx(CAPACITY_RPS - math.log(100) / p99_ms * 1e3, rel=0.02)


@pytest.mark.parametrize("p99_ms", [299.0, 301.0, 310.0])
def test_a_single_lucky_level_moves_the_rate_by_little(p99_ms):
    found = FoundRate(367.0, (355.0, 380.0))
    without = rate((*LEVELS, OVER), p99_ms, found)
    assert rate((*LEVELS, OVER, LUCKY), p99_ms, found) == pytest.approx(without, rel=0.03)


def test_a_limit_that_is_looser_by_a_third_of_a_per_cent_is_no_leap():
    """The trial found 367 requests/s under 300 ms; of the levels, one kept 301 ms at 668."""
    one = trial(1, 0, *LEVELS[:4], LUCKY, rps=367.0, reported=3, interval_rps=(355.0, 380.0))
    known = known_rate([one], Limits({"p99_ms": 301.0}, HELD), 0.05, None, opened=True)
    assert (known.at_least_rps, known.resolved) == (367, False)
    assert known.estimate_rps == pytest.approx(367.5, abs=1)
    # Cut to what the bounds leave possible: it kept the run's own, tighter limit at 367.
    assert known.estimate_interval_rps == pytest.approx((367, 380), rel=0.02)


def test_under_the_runs_own_limits_the_rate_and_its_interval_are_those_that_it_found():
    found = FoundRate(350.0, (330.0, 371.0))
    assert BreakingRate(LEVELS, HELD, found).under(HELD) == (pytest.approx(350), pytest.approx((330, 371)))
    assert BreakingRate(LEVELS, HELD, replace(found, interval_rps=None)).under(HELD) == (pytest.approx(350), None)


def test_far_from_what_was_measured_the_interval_is_wider():
    breaking = BreakingRate((*LEVELS, OVER), HELD, FoundRate(367.0, (355.0, 380.0)))

    def width(p99_ms: float) -> float:
        low, high = breaking.under({"p99_ms": p99_ms})[1]
        return math.log(high / low)

    assert width(300) == pytest.approx(math.log(380 / 355))
    assert width(20) > 2 * width(300)


@pytest.mark.parametrize("p99_ms", [20.0, 60.0])
def test_the_interval_under_another_limit_is_one_of_95_per_cent(p99_ms):
    """The run found what its levels say; so under another limit its interval is theirs, by the posterior itself."""

    def posterior(limit_ms: float) -> RatePosterior:
        low, high = LEVELS[0].asked, LEVELS[-1].asked
        made = RatePosterior.about(math.sqrt(low * high), 1, floor_rps=0.1 * low)
        for at in LEVELS:
            made = made.after(at.asked, [level_evidence(at, "p99_ms", limit_ms, 1.0)])
        return made

    own = posterior(HELD["p99_ms"])
    found = FoundRate(own.quantile(0.5), (own.quantile(0.025), own.quantile(0.975)))
    rate_rps, (low_rps, high_rps) = BreakingRate(LEVELS, HELD, found).under({"p99_ms": p99_ms})
    # How steeply the limit breaks is as under the run's own, but for a tenth.
    here = posterior(p99_ms).with_steepness(0.9 * own.steepness + 0.1 / own.steepness.size)
    assert here.below(rate_rps) == pytest.approx(0.5, abs=0.05)
    assert 0.015 < here.below(low_rps) < 0.04 and 0.93 < here.below(high_rps) < 0.99


def test_all_levels_together_find_no_rate_that_the_replica_cannot_do():
    """Its only open level says that it keeps the limit at 280 requests/s."""
    free = BreakingRate(LEVELS[:1], HELD).under({"p99_ms": 3000.0})[0]
    bounded = BreakingRate(LEVELS[:1], HELD, ceiling_rps=300.0).under({"p99_ms": 3000.0})[0]
    assert free > 350 and bounded < 330


@pytest.mark.parametrize("asked_rps", [450, 800])
def test_an_overloaded_level_says_what_the_replica_answered_not_what_it_was_asked_for(asked_rps):
    """All open levels keep this limit with room; the replica answered 378 requests/s of those that it was sent."""
    over = level(asked_rps, 900, overloaded=True, fell_behind=True, completed=500, achieved_rps=378.0)
    free, bounded = (rate(levels, 3000.0) for levels in (LEVELS[:2], (*LEVELS[:2], over)))
    assert free > 400 and 330 < bounded < 378


def test_what_was_found_lies_in_its_interval():
    with pytest.raises(ValueError, match="an interval of 0 or more around the rate 350.0 is needed"):
        FoundRate(350.0, (351.0, 380.0))
    with pytest.raises(ValueError, match="an interval of 0 or more around the rate 350.0 is needed"):
        FoundRate(350.0, (330.0, 349.0))


def test_of_two_limits_both_count():
    breaking = BreakingRate((*LEVELS, OVER), HELD)
    both = breaking.under({"p99_ms": 300.0, "p50_ms": 20.0})[0]
    assert both <= min(breaking.under({"p99_ms": 300.0})[0], breaking.under({"p50_ms": 20.0})[0])


a_load = st.builds(
    lambda rps, p99_ms, part, completed, overloaded: level(
        rps, p99_ms, p50_ms=part * p99_ms, completed=completed, overloaded=overloaded, achieved_rps=0.9 * rps
    ),
    st.integers(10, 900), st.floats(5, 900), st.floats(0.1, 0.9), st.integers(0, 4000), st.booleans(),
)  # fmt: skip
a_limit = st.floats(2, 1500)


@given(st.lists(a_load, min_size=1, max_size=8), a_limit, a_limit, st.sampled_from(["p99_ms", "p50_ms", "mean_ms"]))
def test_a_looser_limit_never_has_a_lower_rate(levels, one, other, name):
    low, high = sorted((one, other))
    levels = [replace(at, error_rate=0.0) for at in levels]
    breaking = BreakingRate(levels, HELD, FoundRate(100.0, (80.0, 120.0)))
    tight, loose = ({"p99_ms": 300.0, name: limit} for limit in (low, high))
    assert breaking.under(tight)[0] <= breaking.under(loose)[0] * (1 + 1e-9)


@given(st.lists(a_load, min_size=1, max_size=8), a_limit, a_limit, st.floats(5, 900), st.booleans())
def test_nor_has_what_is_told_of_a_configuration(levels, one, other, rps, early):
    low, high = sorted((one, other))
    own = trial(1, 0, *levels, rps=rps, reported=0, interval_rps=(0.9 * rps, 1.1 * rps), ended_early=early)
    tight, loose = (
        known_rate([own], Limits({"p99_ms": limit}, HELD), 0.05, None, opened=True).at_least_rps
        for limit in (low, high)
    )
    assert tight <= loose * (1 + 1e-9)


@given(st.lists(a_load, min_size=2, max_size=8), a_limit)
def test_a_limit_that_is_looser_by_a_little_changes_the_rate_by_little(levels, limit):
    """By no more than a level's requests between the two limits are worth: here a thousandth of the limit."""
    breaking = BreakingRate(levels, HELD, FoundRate(100.0))
    before, after = (breaking.under({"p99_ms": p99_ms})[0] for p99_ms in (limit, 1.001 * limit))
    assert before * (1 - 1e-9) <= after <= 1.1 * before


@pytest.mark.parametrize("more", [{"error_rate": 0.5}, {"p50_ms": 1e5}, {"p50_ms": 100.0}])
def test_beside_a_looser_limit_one_that_is_kept_anyway_changes_nothing(more):
    one = trial(1, 0, *LEVELS[:4], LUCKY, rps=367.0, reported=3, interval_rps=(355.0, 380.0))
    alone, beside = (
        known_rate([one], Limits({"p99_ms": 301.0, **other}, HELD), 0.05, None, opened=True)
        for other in (dict[str, float](), more)
    )
    assert beside.at_least_rps == alone.at_least_rps == 367


@given(st.lists(a_load, min_size=1, max_size=8), a_limit, a_limit, st.floats(5, 900), st.booleans())
def test_one_more_limit_never_gives_a_higher_rate(levels, limit, other, rps, early):
    own = trial(1, 0, *levels, rps=rps, reported=0, interval_rps=(0.9 * rps, 1.1 * rps), ended_early=early)
    alone, both = (
        known_rate([own], Limits({"p99_ms": limit, **more}, HELD), 0.05, None, opened=True).at_least_rps
        for more in (dict[str, float](), {"p50_ms": other})
    )
    assert both <= alone * (1 + 1e-9)
