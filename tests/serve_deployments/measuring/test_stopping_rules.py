"""When a level ends, by records of requests whose every number is known, and how seldom it ends by mere bad luck."""

import math
from dataclasses import replace

import numpy as np
import pytest

from serve_deployments.load.arrivals import CONSTANT, POISSON, Renewal
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.measuring.stopping_rules import LevelStatus, UntilKnown, UntilPrecise, UntilSeen
from tests.levels import events, queued, so_far

PLAN = LoadPlan()


def evenly(count, seconds=10.0, **columns):
    """Requests that end at equal distances, the first of which turns the server over."""
    return events(np.linspace(seconds / count, seconds, count), **columns)


# --- what falls behind, and what is only unlucky


@pytest.mark.parametrize(("arrivals", "tolerated"), [(CONSTANT, 5), (POISSON, 15), (Renewal(2.0), 25)])
def test_a_short_level_is_behind_only_by_more_than_5_percent_and_what_chance_adds(arrivals, tolerated):
    """100 were due: 5 may be left, and a standard deviation, cv x sqrt(100), of what came."""
    for grown, behind in ((tolerated - 0.5, False), (tolerated + 0.5, True)):
        record = events([0.0, 0.5, 0.7, 0.9, 1.0], latency_s=0.1, in_flight=[1.0, 1.0, 2.0, 3.0, 1.0 + grown])
        rule = UntilKnown(replace(PLAN, arrivals=arrivals), 100.0, {"error_rate": 0.5})
        assert rule.check(record, last=True).overloaded is behind
        assert not rule.check(record).overloaded  # more may follow


def growing(by, latency=True):
    """A thousand requests in 10 s, whose queue rises in a straight line; so do latencies, unless told otherwise."""
    rise = 1.0 + by * np.linspace(0.0, 1.0, 1000)
    return evenly(1000, in_flight=rise, latency_s=0.01 * rise if latency else 0.01)


@pytest.mark.parametrize(("arrivals", "during", "at_the_end"), [(CONSTANT, 50, 50), (POISSON, 97, 81)])
def test_a_queue_is_overload_once_it_grew_by_more_than_5_percent_and_what_chance_adds(arrivals, during, at_the_end):
    """Of 1,000 due, 50, and 1.5 standard deviations of sqrt(1000) while a level may go on, 1 at its end."""
    rule = UntilKnown(replace(PLAN, arrivals=arrivals), 100.0, {"error_rate": 0.9})
    for last, least in ((False, during), (True, at_the_end)):
        # Between the middles of the first and the last of ten pieces lie nine tenths of the rise, or a little more.
        assert rule.check(growing(least / 0.85), last=last).overloaded
        assert not rule.check(growing(0.85 * least), last=last).overloaded


def test_a_queue_that_grows_while_answers_take_no_longer_is_no_overload():
    rule = UntilKnown(PLAN, 100.0, {"error_rate": 0.9})
    assert rule.check(growing(200.0)).overloaded
    assert not rule.check(growing(200.0, latency=False)).overloaded
    shrinking = evenly(1000, in_flight=np.linspace(300, 1, 1000), latency_s=np.linspace(3, 0.01, 1000))
    assert not rule.check(shrinking).overloaded and not rule.check(shrinking, last=True).overloaded


def test_steps_that_vary_must_be_three_standard_errors_above_0_and_two_at_the_end():
    """Nine steps of mean 1 that alternate by n have a standard error of about n / 3: 2.5 of them with n of 1.2."""
    rule = UntilKnown(PLAN, 100.0, {"error_rate": 0.9})
    found = [
        (rule.check(one).overloaded, rule.check(one, last=True).overloaded) for one in map(alternating, (0.5, 4.0))
    ]
    assert found == [(True, True), (False, False)]
    between = alternating(1.2)
    assert not rule.check(between).overloaded and rule.check(between, last=True).overloaded


def alternating(noise):
    """Ten pieces of 100 requests, the steps between which are 30 x (1 + noise) and 30 x (1 - noise) in turn."""
    steps = 30 * (1 + noise * np.array([1, -1] * 5))
    levels = np.concatenate([[0.0], np.cumsum(steps)])[:10]
    rise = np.repeat(levels - levels.min() + 1, 100)
    return evenly(1000, in_flight=rise, latency_s=0.01 * rise)


def test_below_capacity_bad_luck_is_hardly_ever_taken_for_overload():
    """By chance in 1 of 100, the rule says: of 80 levels 4 or more are then so in 1 of 100 cases."""
    assert sum(falls_behind(0.75, seed) for seed in range(80)) <= 3


def test_well_beyond_capacity_overload_is_found():
    assert sum(falls_behind(1.4, seed) for seed in range(30)) >= 28


def falls_behind(load, seed, service_s=0.02):
    """Whether a level of 3 s is called overloaded at any of ten looks, or at the end."""
    rng = np.random.default_rng(seed)
    record = queued(rng, load / service_s, lambda rng, count: np.full(count, service_s), 3.0)
    rule, count = UntilKnown(LoadPlan(precision=1e-9), load / service_s), record.count
    looks = [rule.check(so_far(record, count * tenth // 10)) for tenth in range(1, 10)]
    return any(look is not None and look.overloaded for look in [*looks, rule.check(record, last=True)])


# --- open levels against limits


def test_nothing_is_said_before_the_server_has_turned_over():
    rule = UntilKnown(PLAN, 10.0, {"p99_ms": 100.0})
    assert rule.check(events([])) is None
    assert rule.check(events([0.1, 0.2], in_flight=3)) is None
    assert rule.check(events([0.1, 0.2, 0.3], in_flight=3)) is None  # turned over, and nothing after that
    found = rule.check(events([0.1, 0.2, 0.3, 0.4], in_flight=3))
    assert found.span.start_s == 0.3 and found.span.ended_s.tolist() == [0.4] and not found.over


def test_a_broken_limit_is_known_at_once_and_a_kept_one_not_before_the_least_time():
    slow = evenly(200, 0.5, latency_s=0.2)
    assert UntilKnown(PLAN, 400.0, {"p99_ms": 100.0}).check(slow).sure
    rule, quick = UntilKnown(PLAN, 400.0, {"p99_ms": 300.0}), evenly(900, 0.9, latency_s=0.2)
    assert not rule.check(quick).sure
    assert rule.check(evenly(1000, 1.0 + 2e-3, latency_s=0.2)).sure  # 1 s beside the request that was first
    assert not rule.check(evenly(60, 6.0, latency_s=0.2)).sure  # long enough, but a p99 takes more requests


def test_the_rate_of_an_open_level_counts_what_was_answered_from_the_turn_over_on():
    latency_s = np.where(np.arange(1000) % 4 == 3, math.nan, 0.01)
    found = UntilKnown(PLAN, 100.0, {"error_rate": 0.5}).check(evenly(1000, latency_s=latency_s))
    assert found.estimate.mean == pytest.approx(75, rel=0.01) and found.span.start_s == pytest.approx(0.01)


@pytest.mark.parametrize(("limit_ms", "lost"), [(118.3, True), (121.7, False)])
def test_a_queue_that_grows_has_lost_a_limit_that_nine_in_ten_of_the_last_third_break(limit_ms, lost):
    """Latencies rise from 50 to 150 ms, the last third from 116.7: 95 % of it above 118.3, 85 % above 121.7 ms."""
    record = evenly(1000, in_flight=np.linspace(1, 3, 1000), latency_s=np.linspace(0.05, 0.15, 1000))
    found = UntilKnown(PLAN, 100.0, {"mean_ms": limit_ms, "error_rate": 0.9}).check(record)
    assert found.sure is lost and not found.overloaded  # the mean of all is 100 ms: within both limits
    level = evenly(1000, in_flight=2.0, latency_s=np.linspace(0.05, 0.15, 1000))
    assert not UntilKnown(PLAN, 100.0, {"mean_ms": limit_ms}).check(level).sure  # this queue does not grow


def test_without_limits_a_level_ends_when_its_mean_latency_is_known():
    rng = np.random.default_rng(0)
    for spread, sure in ((0.3, True), (3.0, False)):
        record = evenly(1000, latency_s=0.05 * rng.gamma(spread**-2, spread**2, 1000))
        assert UntilKnown(PLAN, 100.0).check(record).sure is sure
    assert not UntilKnown(PLAN, 2000.0).check(evenly(1000, 0.5)).sure  # too short
    assert not UntilKnown(PLAN, 100.0).check(evenly(1000, latency_s=math.nan)).sure


# --- closed levels


def closed(ended_s, clients=4, **columns):
    return events(ended_s, in_flight=float(clients), **columns)


def test_a_closed_level_counts_from_when_each_client_was_answered_once():
    for rule in (UntilPrecise(PLAN), UntilSeen(0.0)):
        assert rule.check(closed([0.1, 0.2, 0.3])) is None
        assert rule.check(closed([0.1, 0.2, 0.3, 0.4])) is None
        assert rule.check(closed([0.1, 0.2, 0.3, 0.4, 0.5])).span.start_s == 0.4
        # When the level is over, the end of one burst is no rate.
        assert rule.check(closed([0.1, 0.2, 0.3, 0.4, 0.5]), last=True) is None
        assert rule.check(closed([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]), last=True) is not None


def test_a_glance_is_over_once_each_client_was_answered_again_and_the_least_time_is_up():
    times_s = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
    assert UntilSeen(0.4).check(closed(times_s)).sure and UntilSeen(0.4).check(closed(times_s)).estimate is None
    assert not UntilSeen(0.41).check(closed(times_s)).sure
    assert not UntilSeen(0.1).check(closed(times_s[:7])).sure


def test_the_rate_of_a_closed_level_leaves_warm_up_out():
    """Five seconds at 10 requests a second, then 40 at 100."""
    times_s = np.concatenate([np.arange(1, 51) * 0.1, 5 + np.arange(1, 4001) * 0.01])
    found = UntilPrecise(PLAN).check(closed(times_s))
    assert found.sure and found.estimate.mean == pytest.approx(100, rel=1e-6)
    assert 5 <= found.span.start_s < 10 and found.span.end_s == pytest.approx(45, abs=1.0)
    assert found.span.ended_s.size == pytest.approx(100 * found.span.duration_s, abs=1)


def test_a_closed_level_is_measured_for_no_less_than_its_least_time():
    def found(seconds, **changes):
        return UntilPrecise(LoadPlan(**changes)).check(closed(np.arange(1, round(100 * seconds) + 1) * 0.01))

    assert found(0.9).estimate is None and not found(0.9).sure
    assert found(1.2).estimate.mean == pytest.approx(100) and found(1.2).sure
    assert not found(1.2, level_min_s=1.5).sure and found(1.7, level_min_s=1.5).sure
    # When its time is up it says what it saw, and that it is not sure.
    short = UntilPrecise(PLAN).check(closed(np.arange(1, 91) * 0.01), last=True)
    assert short.estimate.mean == pytest.approx(100) and not short.sure


def test_five_bursts_are_no_rate():
    bursts = np.repeat(np.arange(1.0, 8.0), 4)
    assert UntilPrecise(PLAN).check(closed(bursts[:24])).estimate is None  # that of warm-up, and five
    assert UntilPrecise(PLAN).check(closed(np.repeat(np.arange(1.0, 11.0), 4))).estimate.mean == pytest.approx(4)


@pytest.mark.parametrize("part", range(8))
def test_the_part_of_a_burst_with_which_a_closed_level_ends_is_not_measured(part):
    """Eight answers each second, a millisecond apart: eight a second, wherever in a burst the level ends."""
    bursts = np.add.outer(np.arange(1.0, 15.0), np.arange(8) / 1000).ravel()
    found = UntilPrecise(PLAN).check(closed(bursts[: 13 * 8 + part], clients=8))
    assert found.estimate.mean == pytest.approx(8.0) and found.estimate.error == pytest.approx(0, abs=1e-9)
    assert found.span.ended_s.size == pytest.approx(8 * found.span.duration_s) and found.span.end_s % 1 > 0.0069


def test_an_interval_that_is_too_wide_goes_on_and_a_wide_one_may_do():
    gaps_s = np.random.default_rng(1).exponential(0.01, 400)
    record = closed(np.cumsum(gaps_s))
    assert not UntilPrecise(PLAN).check(record).over
    assert UntilPrecise(LoadPlan(precision=0.5)).check(record).sure


def test_a_peak_is_beaten_only_by_a_rate_above_its_99_percent_interval():
    record = closed(np.cumsum(np.random.default_rng(2).exponential(0.01, 300)))
    estimate = UntilPrecise(PLAN).check(record).estimate
    low, high = estimate.bounds(0.99)
    assert low < estimate.bounds()[0] and high > estimate.bounds()[1]
    for to_beat_rps, beaten in ((1.001 * high, True), (0.999 * high, False), (0.0, False)):
        found = UntilPrecise(PLAN, to_beat_rps).check(record)
        assert (found.beaten, found.over, found.sure) == (beaten, beaten, False)


def test_a_peak_that_may_still_win_is_hardly_ever_given_up():
    """The true rate is what is to be beaten: 99 % two-sided at each of some looks, so 1 run in 30 or so is given up."""
    given_up = 0
    for seed in range(60):
        record = closed(np.cumsum(np.random.default_rng(seed).exponential(0.01, 600)), 1)
        looks = (UntilPrecise(LoadPlan(precision=1e-9), 100.0).check(so_far(record, n)) for n in (150, 300, 600))
        given_up += any(look.beaten for look in looks)
    assert given_up <= 4


def test_a_finding_is_over_by_any_of_four_reasons():
    span = events([0.1]).span()
    assert not LevelStatus(span, None).over
    for reason in ("sure", "overloaded", "beaten", "left"):
        assert LevelStatus(span, None, **{reason: True}).over
