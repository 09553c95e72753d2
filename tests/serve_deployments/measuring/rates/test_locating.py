"""When a level in a search for the highest rate ends: by beliefs that are made, and records that are known."""

import math

import numpy as np
import pytest

from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.measuring.rates.locating import UntilLocated, is_precise, target_rps
from serve_deployments.measuring.statistics.rate_posterior import RatePosterior, RatePrior
from tests.levels import events, queued, so_far

PLAN = LoadPlan()
LIMIT = {"p99_ms": 100.0}


def believed(rate_rps, spread, limits=1):
    return RatePosterior.about(rate_rps, limits, floor_rps=1.0).with_priors([RatePrior(rate_rps, spread, 4.0)] * limits)


def held(rate_rps, seconds, slow=0.0, latency_s=0.05):
    """An open level of even arrivals, of which so large a share is above the limit, evenly among them."""
    count = round(rate_rps * seconds) + 1
    is_slow = np.floor(np.arange(count) * slow) < np.floor((np.arange(count) + 1) * slow)
    return events(np.arange(1, count + 1) / rate_rps, np.where(is_slow, 0.2, latency_s))


def look(rate_rps, seconds, before, slow=0.0, beat_rps=0.0, at_most=LIMIT):
    rule = UntilLocated(PLAN, rate_rps, at_most, before, beat_rps)
    return rule.check(held(rate_rps, seconds, slow)), rule


def test_a_level_is_held_half_the_precision_below_the_probable_crossing():
    posterior = believed(80.0, 0.1)
    assert target_rps(posterior, 0.05) == pytest.approx(posterior.quantile(0.5) / 1.025)


def test_a_crossing_is_precise_once_its_standard_deviation_is():
    posterior = believed(80.0, 0.1)
    fits = math.exp(posterior.spread) - 1
    assert is_precise(posterior, 1.01 * fits) and not is_precise(posterior, 0.99 * fits)


def test_a_level_at_a_rate_that_is_known_and_keeps_the_limits_is_the_answer_after_the_least_time():
    posterior = believed(300.0, 0.02)
    rate_rps = target_rps(posterior, 0.05)
    found, rule = look(rate_rps, 1.01, posterior)
    assert found.sure and not found.left and rule.after.below(300.0) < rule.before.below(300.0)
    assert not look(rate_rps, 0.99, posterior)[0].over
    assert not look(300 / 1.12, 1.5, posterior)[0].sure  # not near
    assert not look(rate_rps, 1.01, believed(300.0, 0.2))[0].sure  # not precise
    assert found.span.start_s == pytest.approx(1 / rate_rps) and found.estimate.mean == pytest.approx(rate_rps)


@pytest.mark.parametrize(("factor", "near"), [(1 / 1.1, False), (1 / 1.03, True), (1.03, True), (1.1, False)])
def test_near_the_rate_is_within_the_precision_above_as_well_as_below(factor, near):
    """Each of these levels keeps the limit, and leaves the rate as precisely known as it was."""
    posterior = believed(300.0, 0.01)
    found, rule = look(factor * target_rps(posterior, 0.05), 1.01, posterior)
    assert is_precise(rule.after, 0.05)
    assert found.sure is near and found.left is not near


def test_a_level_that_breaks_a_limit_where_the_rate_is_known_is_left():
    posterior = believed(300.0, 0.02)
    rate_rps = target_rps(posterior, 0.05)
    found, _ = look(rate_rps, 1.01, posterior, slow=0.015)
    assert found.left and not found.sure
    assert not look(rate_rps, 0.9, posterior, slow=0.015)[0].left
    both = UntilLocated(PLAN, rate_rps, {"p99_ms": 100.0, "error_rate": 0.0}, believed(300.0, 0.02, 2))
    assert both.check(held(rate_rps, 1.5)).sure  # each limit holds
    one = UntilLocated(PLAN, rate_rps, {"error_rate": 0.5, "p99_ms": 100.0}, believed(300.0, 0.02, 2))
    assert not one.check(held(rate_rps, 1.5, slow=0.015)).sure  # all of them must


def test_a_level_far_below_the_crossing_is_left_once_it_is_long_enough():
    """It keeps the limits and the crossing is believed far above: another rate tells more."""
    posterior = believed(400.0, 0.2)
    assert look(200.0, 1.01, posterior)[0].left
    assert not look(200.0, 0.9, posterior)[0].left
    # What speaks against the belief tells the most: it breaks limits far below.
    surer = believed(400.0, 0.06)
    assert look(200.0, 1.1, surer)[0].left and not look(200.0, 1.1, surer, slow=0.014)[0].left


def test_a_level_far_above_the_crossing_is_left_as_soon_as_it_says_anything():
    posterior = believed(200.0, 0.1)
    found, rule = look(400.0, 0.2, posterior, slow=0.5)
    assert found.left and rule.after.quantile(0.5) < 300
    assert look(400.0, 0.02, posterior, slow=0.5)[1].after is not posterior
    assert not look(400.0, 0.05, posterior, slow=0.5)[0].left  # 20 requests say nothing of a p99
    assert not look(400.0, 0.2, believed(200.0, 0.02))[0].left  # against the belief, it keeps them so far


@pytest.mark.parametrize(
    ("rate_rps", "above", "spread", "left"),
    [
        # What is believed after it: the next level would be 9 % faster, then 19 and 28 %; twice the precision is 10.
        (300.0, 1.05, 0.08, False), (300.0, 1.2, 0.08, True), (300.0, 1.3, 0.08, True),
        # Of a belief that is less sure, by 5, 22 and 30 % faster; half of its standard deviation is 8 to 10 %.
        (30.0, 0.9, 0.2, False), (30.0, 1.2, 0.2, True), (30.0, 1.3, 0.2, True),
        # A first estimate: 28 % faster where half of the standard deviation is 36 %, then 29 of 33, 44 and 51 of 29.
        (30.0, 0.8, None, False), (30.0, 0.9, None, False), (30.0, 1.2, None, True), (30.0, 1.3, None, True),
    ],
)  # fmt: skip
def test_a_level_that_keeps_the_limit_is_left_for_a_rate_that_differs_by_twice_the_precision_and_half_the_belief(
    rate_rps, above, spread, left
):
    """A level of 1.05 s none of whose requests is above the limit, where so many times its rate is believed in."""
    rough = RatePosterior.about(rate_rps * above, 1, floor_rps=1.0)
    found, rule = look(rate_rps, 1.05, believed(rate_rps * above, spread) if spread else rough)
    assert found.left is left and not found.sure
    assert not is_precise(rule.after, 0.05) and rule.after.quantile(0.5) > 1.05 * rate_rps


def test_a_trial_is_given_up_only_when_99_percent_of_the_belief_are_below_what_is_to_beat():
    posterior = believed(100.0, 0.1)
    _, rule = look(100.0, 2.0, posterior, slow=0.01)
    for probability, beaten in ((0.98, False), (0.992, True)):
        found, _ = look(100.0, 2.0, posterior, slow=0.01, beat_rps=rule.after.quantile(probability))
        assert found.beaten is beaten and not found.sure
    assert not look(100.0, 0.9, posterior, slow=0.01, beat_rps=500.0)[0].beaten  # not before the least time
    assert not look(100.0, 2.0, posterior, slow=0.01)[0].beaten  # nothing is to be beaten


def test_what_is_overloaded_cannot_do_more_than_what_it_was_seen_to_answer():
    record = queued(np.random.default_rng(0), 150.0, lambda rng, count: rng.exponential(0.01, count), 4.0)
    rule = UntilLocated(PLAN, 150.0, {"error_rate": 0.5}, RatePosterior.about(300.0, 1, floor_rps=1.0))
    found = rule.check(record)
    low, high = found.estimate.bounds()  # the upper end: what it may have answered, luck aside
    assert found.overloaded and low < 0.9 * high and 99 < high < 130
    shown = rule.after.log_shown[0, :, 0]
    assert (shown[rule.after.rates > high * 1.01] == pytest.approx(math.log(0.02))) and not shown[
        rule.after.rates < high * 0.99
    ].any()


def test_nothing_is_said_of_nothing_and_each_look_begins_from_the_belief_before():
    posterior = believed(100.0, 0.1)
    rule = UntilLocated(PLAN, 100.0, LIMIT, posterior)
    assert rule.check(events([])) is None and rule.after is posterior
    record = held(100.0, 3.0, slow=0.01)
    rule.check(so_far(record, 200))
    rule.check(record)
    _, anew = look(100.0, 3.0, posterior, slow=0.01)
    assert rule.after.quantile(0.5) == anew.after.quantile(0.5)  # no request counts twice


@pytest.mark.parametrize("seed", range(3))
def test_a_rate_that_would_win_is_not_given_up(seed):
    """An M/M/1 queue whose p99 breaks from 110 requests/s on, held at 100: 105 are to be beaten."""
    limit_ms = 1e3 * math.log(100) / (150.0 - 110.0)
    record = queued(np.random.default_rng(seed), 100.0, lambda rng, n: rng.exponential(1 / 150, n), 20.0)
    rule = UntilLocated(PLAN, 100.0, {"p99_ms": limit_ms}, believed(105.0, 0.2), beat_rps=105.0)
    found = [rule.check(so_far(record, count)) for count in range(200, record.count, 300)]
    assert not any(one.beaten for one in found)
