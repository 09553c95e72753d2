"""What levels say of the highest rate within limits, on curves computed by hand."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raytune_infer.ranking.limits import Limits
from raytune_infer.ranking.rate_bounds import RateBounds, arrivals_within, clients_within
from raytune_infer.ranking.trial_answer import TrialAnswer
from serve_deployments.metrics.level_result import LevelResult
from tests.levels import a_level

PRECISION = 0.1


def arrivals(rps: float, p99_ms: float, **more) -> LevelResult:
    more = {"achieved_rps": more.pop("achieved", rps), "completed": 0, **more}
    return a_level(rps, values={"p99_ms": p99_ms}, **more)


def clients(number: int, rps: float, p99_ms: float = 0.0, **more) -> LevelResult:
    return a_level(clients=number, achieved_rps=rps, values={"p99_ms": p99_ms or 1e3 * number / rps}, **more)


def within(levels, held_under=100.0, **limits: float):
    """Latencies in ms, the run's limit of p99 beside them; of a trial's own answer its level is one of the levels."""
    answers = [one for one in levels if isinstance(one, TrialAnswer)]
    levels = [one.level if isinstance(one, TrialAnswer) else one for one in levels]
    return arrivals_within(levels, Limits(limits, {"p99_ms": held_under}), PRECISION, answers)


# p99 = 10 ms x (rate / 100)², up to 400 where the queue grows.
CURVE = [arrivals(100, 10), arrivals(200, 40), arrivals(400, 160, overloaded=True, fell_behind=True)]
FINE = [*CURVE, arrivals(280, 78.4), arrivals(305, 93.0), arrivals(330, 108.9)]


def test_what_the_run_found_is_found_again():
    known = within(FINE, p99_ms=100)
    assert known.level.rate_rps == 305 and known.at_most_rps == 330 and known.resolved and known.estimate_rps is None


def test_between_two_levels_far_apart_the_crossing_is_estimated_and_not_believed():
    known = within(CURVE, p99_ms=22.5)
    assert (known.level.rate_rps, known.at_most_rps, known.resolved) == (100, 200, False)
    assert known.estimate_rps == pytest.approx(150)  # exact, as the curve is a power of the rate


@given(st.floats(10.1, 39.9))
def test_an_estimate_lies_between_its_levels(limit):
    assert 100 < within(CURVE, p99_ms=limit).estimate_rps < 200


def test_from_hardly_any_errors_the_crossing_is_estimated_too():
    levels = [arrivals(100, 10, error_rate=5e-324), arrivals(200, 10, error_rate=0.1)]
    assert 190 < within(levels, error_rate=0.09).estimate_rps < 200


def test_of_several_limits_the_first_to_be_crossed_counts():
    levels = [arrivals(100, 10), arrivals(200, 40)]
    levels = [a_level(at.asked, values={**at.latency.values, "p50_ms": at.rate_rps / 10}, completed=0) for at in levels]
    assert within(levels, p99_ms=22.5, p50_ms=10.5).estimate_rps == pytest.approx(105)


def test_nothing_is_estimated_from_an_overloaded_level():
    known = within(CURVE, p99_ms=100)
    assert (known.level.rate_rps, known.at_most_rps, known.estimate_rps) == (200, 400, None)


def test_above_the_highest_level_nothing_is_known():
    known = within(CURVE[:2], held_under=100, p99_ms=100)
    assert (known.level.rate_rps, known.at_most_rps, known.resolved) == (200, math.inf, False)


def test_below_the_lowest_level_there_is_only_a_bound():
    known = within(CURVE, p99_ms=5)
    assert (known.level, known.at_least_rps, known.at_most_rps, known.resolved) == (None, 0, 100, False)


def test_a_level_stopped_for_the_old_limit_says_nothing_of_a_much_looser_one():
    stopped = arrivals(400, 160, overloaded=True)
    assert within([CURVE[1], stopped], held_under=100, p99_ms=300).at_most_rps == 400
    assert within([CURVE[1], stopped], held_under=100, p99_ms=301).at_most_rps == math.inf
    assert within([CURVE[1], stopped], held_under=100).at_most_rps == math.inf
    # Unless its answers fell behind: then no limit is kept.
    assert within(CURVE, held_under=100, p99_ms=5000).at_most_rps == 400


def test_a_level_kept_by_chance_above_a_broken_one_is_not_believed():
    known = within([arrivals(100, 10), arrivals(200, 120), arrivals(300, 90)], p99_ms=100)
    assert (known.level.rate_rps, known.contradicted) == (100, 1)
    assert known.at_most_rps == 300  # but a new trial may find it so


def test_a_level_broken_by_chance_below_several_kept_ones_is_not_believed():
    known = within([arrivals(100, 130), arrivals(200, 40), arrivals(280, 78), arrivals(300, 120)], p99_ms=100)
    assert (known.level.rate_rps, known.at_most_rps, known.resolved, known.contradicted) == (280, 300, True, 1)


def test_a_trials_own_answer_counts_however_few_requests_it_rests_on():
    """The slow ones rest on few: to leave them out would leave the lucky one alone."""
    slow = [TrialAnswer(arrivals(rps, 40, completed=39), {"rps": rps}) for rps in (11.0, 14.0)]
    known = within([TrialAnswer(arrivals(81, 60, completed=5000), {"rps": 81.0}), *slow], p99_ms=100)
    assert (known.level.rate_rps, known.at_most_rps, known.resolved) == (14, 14, True)
    # One whose own figures break the limit is no answer.
    broke = TrialAnswer(arrivals(5, 140, completed=39), {"rps": 5.0})
    assert (
        within([*slow, broke, TrialAnswer(arrivals(13, 90, completed=39), {"rps": 13.0})], p99_ms=100).level.rate_rps
        == 13
    )


def test_a_busy_load_side_hides_what_more_there_is():
    known = within([arrivals(100, 10), arrivals(105, 120, client_limited=True)], p99_ms=100)
    assert (known.level.rate_rps, known.at_most_rps, known.resolved, known.client_limited) == (
        100,
        math.inf,
        False,
        True,
    )


def test_clients_that_wait_bound_arrivals_from_above_and_never_from_below():
    # 4 clients broke 20 ms at 150 requests/s: arrivals at 150 queue deeper. One kept them: only a hint.
    closed = [clients(1, 90), clients(4, 150)]
    known = within([*closed, arrivals(200, 40)], p99_ms=20)
    assert (known.level, known.at_most_rps) == (None, 150) and known.alone.asked == 1
    # Of a busy load generator nothing is known but that.
    busy = [closed[0], replace(closed[1], client_limited=True)]
    assert within([*busy, arrivals(200, 40)], p99_ms=20).at_most_rps == 200
    # No bound against what arrivals themselves showed.
    assert within([*closed, arrivals(200, 15)], p99_ms=20).at_most_rps == math.inf


def test_more_clients_that_bring_no_more_show_what_the_replica_can_do():
    closed = [clients(1, 80), clients(4, 82)]
    known = within([*closed, arrivals(60, 40)], p99_ms=100)
    assert known.level.rate_rps == 60 and known.at_most_rps == pytest.approx(1.05 * 82)


def test_what_even_one_client_breaks_is_never_kept():
    known = within([clients(1, 5.0)], p99_ms=100)
    assert (known.level, known.at_most_rps, known.resolved) == (None, 0.0, True)
    # Arrivals were tried down to a tenth of what one client does: nothing slower is.
    assert within([clients(1, 50.0), arrivals(5.2, 120)], p99_ms=100).resolved
    assert not within([clients(1, 50.0), arrivals(10, 120)], p99_ms=100).resolved


PEAK = [clients(8, 300), clients(16, 400), clients(32, 410), clients(64, 405)]


def closed_within(levels, **limits: float):
    return clients_within(levels, Limits(limits), PRECISION)


def test_the_peak_is_the_fewest_clients_of_the_highest_rates_and_known_once_more_bring_no_more():
    known = closed_within([*PEAK, clients(128, 408)])
    assert (known.level.asked, known.at_most_rps, known.resolved) == (32, 410, True)
    assert not closed_within(PEAK[:2]).resolved and closed_within(PEAK[:2]).at_most_rps == math.inf


def test_under_a_limit_the_order_is_that_of_the_clients():
    # Latencies are 26.7, 40, 78 and 158 ms: at the same rate, but of more clients.
    known = closed_within(PEAK, p99_ms=50)
    assert (known.level.asked, known.at_most_rps, known.resolved, known.clients) == (16, 410, True, (16, 32))
    known = closed_within(PEAK, p99_ms=30)
    assert (known.level.asked, known.at_most_rps, known.resolved, known.clients) == (8, 400, False, (8, 16))
    assert 300 < known.estimate_rps < 400


def test_fewer_clients_than_were_tried_may_keep_what_all_broke():
    known = closed_within(PEAK, p99_ms=20)
    assert (known.level, known.at_most_rps, known.resolved, known.clients) == (None, 300, False, (None, 8))
    assert closed_within([clients(1, 40)], p99_ms=20).resolved


def test_a_metric_without_a_value_keeps_no_limit():
    assert within([a_level(10.0, values={})], p99_ms=100).level is None


@pytest.mark.parametrize(
    ("slow", "kept"),
    # Of 400 answers the p99 allows 4. More than 7 come by chance in 5 % (binomial: 2.1 % for 9 or more, 5.1 % for 8).
    [(0, True), (4, True), (5, None), (8, None), (9, False), (40, False)],
)
def test_a_percentile_is_broken_only_by_more_answers_than_chance_brings(slow, kept):
    level = a_level(10.0, latency_s=[0.05] * (400 - slow) + [0.2] * slow)
    assert Limits({"p99_ms": 100.0}).kept(level) is kept
    # Of a mean, a maximum or errors there is no such chance.
    assert Limits({"max_ms": 100.0}).kept(level) is (slow == 0)
    assert Limits({"p99_ms": 100.0, "error_rate": 0.0}).kept(level) is kept
    assert Limits({"p99_ms": 100.0, "error_rate": -1.0}).kept(level) is False
    # Without its answers one by one, or without their number, a level says what its percentile does.
    bare = a_level(10.0, values=level.latency.values, completed=400)
    unnumbered = replace(level, completed=0)
    assert Limits({"p99_ms": 100.0}).kept(bare) is Limits({"p99_ms": 100.0}).kept(unnumbered) is (slow <= 4)


@pytest.mark.parametrize(
    ("name", "needed"), [("p99_ms", 100), ("p95_ms", 20), ("p50_ms", 2), ("p90_ms", 10), ("p999_ms", 1000)]
)
def test_of_so_few_arrivals_that_a_percentile_is_only_the_largest_nothing_is_known(name, needed):
    limits = Limits({name: 100.0})
    for completed, kept in ((needed - 1, None), (needed, True), (0, True)):
        assert limits.kept(a_level(10.0, values={name: 50.0}, completed=completed)) is kept
    # Clients that wait are not by chance; a mean needs no number.
    assert limits.kept(a_level(clients=1, values={name: 50.0}, completed=1)) is True
    assert Limits({"mean_ms": 100.0}).kept(a_level(10.0, values={"mean_ms": 50.0}, completed=1)) is True


def test_a_limit_is_kept_at_its_very_value_and_every_one_must_be():
    level = a_level(10.0, values={"p99_ms": 100.0, "p50_ms": 20.0}, error_rate=0.01, completed=0)
    assert Limits({"p99_ms": 100.0, "p50_ms": 20.0, "error_rate": 0.01}).kept(level) is True
    for name, less in (("p99_ms", 99.9), ("p50_ms", 19.9), ("error_rate", 0.009)):
        limits = Limits({"p99_ms": 100.0, "p50_ms": 20.0, "error_rate": 0.01} | {name: less})
        assert limits.kept(level) is False
        assert {n for n in limits.at_most if not limits.keeps(level, n)} == {name}
    assert Limits({}).kept(level) is True
    assert Limits({"p99_ms": 1.0}, {"p99_ms": 1.0}).unchanged and not Limits({"p99_ms": 1.0}, {"p99_ms": 2.0}).unchanged


def test_the_tightest_latency_decides_what_an_early_stop_still_says():
    stopped = arrivals(400, 160, overloaded=True)

    def kept(at_most, held_under):
        return Limits(at_most, held_under).kept(stopped)

    assert kept({"p99_ms": 400, "p50_ms": 120}, {"p99_ms": 100, "p50_ms": 40}) is False  # 120 is 3 x 40
    assert kept({"p99_ms": 400, "p50_ms": 121}, {"p99_ms": 100, "p50_ms": 40}) is None
    assert kept({"error_rate": 0.1}, {"p99_ms": 100}) is None  # no limit on a latency is the loosest
    assert kept({"p99_ms": 400}, {"error_rate": 0.1}) is False  # stopped under none: it can do no better


def said(rps, *, low=None, high=None, early=False, asked=None, client_limited=False) -> TrialAnswer:
    """A level that stands for its trial, which reported a rate of its own."""
    interval = None if low is None else (low, high)
    level = arrivals(asked or rps, 50, achieved=asked or rps)
    return TrialAnswer(level, {"rps": rps}, interval, early, client_limited)


def test_under_the_runs_own_limits_its_trials_stand_by_what_they_said():
    levels = [arrivals(295, 90), said(300, asked=290, low=280.0, high=310.0), arrivals(305, 120)]
    known = within(levels, p99_ms=100)
    assert (known.level.rate_rps, known.level.metrics["rps"], known.at_most_rps, known.resolved) == (
        300,
        300,
        300,
        True,
    )
    assert known.interval_rps == (280.0, 310.0) and known.estimate_rps is None
    # Under any other limits the levels do.
    assert within(levels, p99_ms=101).level.rate_rps == 295
    # A level that did not keep them stands for nothing.
    broken = TrialAnswer(arrivals(300, 150), {"rps": 300.0})
    assert within([broken, arrivals(100, 10)], p99_ms=100).level.rate_rps == 100


def test_of_several_trials_the_middle_one_that_was_not_cut_short_speaks():
    whole = [said(300), said(100), said(200), said(250)]
    assert within(whole, p99_ms=100).level.rate_rps == 200  # of the two in the middle the lower
    early = said(900, low=800.0, high=950.0, early=True)
    known = within([early, *whole[:1]], p99_ms=100)
    assert (known.level.rate_rps, known.at_most_rps, known.resolved) == (300, 300, True)


def test_a_trial_that_ended_early_leaves_its_interval_open():
    known = within([said(180, asked=100, low=120.0, high=260.0, early=True)], p99_ms=100)
    assert (known.level.rate_rps, known.at_most_rps, known.estimate_rps, known.resolved) == (100, 260, 180, False)
    assert known.interval_rps is None
    low = within([said(80, asked=100, low=60.0, high=90.0, early=True)], p99_ms=100)
    assert low.at_most_rps == 100  # which it was seen to do
    without = within([said(180, asked=100, early=True)], p99_ms=100)
    assert (without.at_most_rps, without.resolved) == (100, True)


@pytest.mark.parametrize("early", [False, True])
def test_a_trial_whose_load_side_was_the_bottleneck_says_only_what_was_reached(early):
    busy = said(300, low=280.0, high=310.0, early=early, client_limited=True)
    known = within([busy, said(300, low=280.0, high=310.0, early=early)], p99_ms=100)
    assert (known.level.rate_rps, known.at_most_rps, known.resolved, known.client_limited) == (
        300,
        math.inf,
        False,
        True,
    )
    assert not within([said(300, low=280.0, high=310.0, early=early)], p99_ms=100).client_limited


def test_a_busy_load_side_matters_from_the_highest_kept_level_upwards():
    kept = [arrivals(100, 10), arrivals(200, 20), arrivals(210, 120)]
    for place, matters in ((0, False), (1, True), (2, True)):
        levels = [replace(at, client_limited=i == place) for i, at in enumerate(kept)]
        known = within(levels, held_under=50, p99_ms=100)
        assert (known.client_limited, known.resolved) == (matters, not matters)
        assert known.at_most_rps == (math.inf if matters else 210) and known.level.rate_rps == 200


@pytest.mark.parametrize(("broke", "resolved"), [(110, True), (110.1, False)])
def test_two_levels_as_close_as_the_precision_settle_it(broke, resolved):
    known = within([arrivals(100, 10), arrivals(broke, 60)], p99_ms=50)
    assert (known.resolved, known.at_most_rps) == (resolved, broke)
    assert (known.estimate_rps is None) == resolved


@given(
    st.lists(
        st.tuples(st.integers(1, 400), st.sampled_from([10.0, 90.0])), min_size=1, max_size=7, unique_by=lambda t: t[0]
    )
)
def test_what_is_said_to_be_kept_was_measured_and_no_order_of_levels_changes_it(cells):
    """By brute force: the cut that fewest levels contradict, of several the lowest."""
    levels = [arrivals(float(rps), p99) for rps, p99 in cells]
    known = within(levels, p99_ms=50)
    ordered = sorted(levels, key=lambda at: at.asked)
    kept = [at.metrics["p99_ms"] <= 50 for at in ordered]
    contradicting = [kept[:cut].count(False) + kept[cut:].count(True) for cut in range(len(kept) + 1)]
    cut = contradicting.index(min(contradicting))
    assert known.level == (ordered[cut - 1] if cut else None) and known.contradicted == min(contradicting)
    assert known.at_least_rps == (ordered[cut - 1].rate_rps if cut else 0.0)
    if not known.resolved:
        assert known.at_most_rps >= max((at.rate_rps for at, k in zip(ordered, kept, strict=True) if k), default=0.0)
    if known.estimate_rps is not None:
        assert known.at_least_rps < known.estimate_rps < known.at_most_rps
    assert within(levels[::-1], p99_ms=50) == known


def test_no_estimate_comes_from_a_value_of_0_or_one_that_is_missing():
    def estimate(low, high):
        below = a_level(100.0, values={"p99_ms": low}, completed=0)
        above = a_level(200.0, values={} if high is None else {"p99_ms": high}, completed=0)
        return within([below, above], p99_ms=50).estimate_rps

    assert estimate(25.0, 100.0) == pytest.approx(100 * math.sqrt(2))
    assert estimate(0.0, 100.0) is None and estimate(25.0, None) is None
    assert estimate(50.0, 100.0) == pytest.approx(100)


def test_clients_bound_arrivals_only_where_they_are_above_what_arrivals_showed():
    broken = [clients(1, 90), clients(4, 150), clients(8, 300)]
    assert within([*broken, arrivals(200, 40)], p99_ms=20).at_most_rps == 150
    # Arrivals kept it at 160: the 4 clients at 150 are no bound, and the 8 at 300, who broke it too, are one.
    assert within([*broken, arrivals(160, 15)], p99_ms=20).at_most_rps == 300
    # Contradicted ones say nothing.
    odd = [clients(1, 90, 50.0), clients(4, 150, 10.0)]
    assert within([*odd, arrivals(200, 40)], p99_ms=20).at_most_rps == 200


def test_more_clients_bound_by_a_twentieth_above_the_highest():
    for second, bound in ((105.0, 1.05 * 105), (105.1, math.inf)):
        known = within([clients(1, 100), clients(4, second), arrivals(60, 40)], held_under=50, p99_ms=100)
        assert known.at_most_rps == pytest.approx(bound)


def test_of_clients_that_kept_what_arrivals_broke_the_fastest_is_the_hint():
    known = within([clients(2, 40, 10), clients(4, 80, 12), clients(8, 90, 60), arrivals(50, 70)], p99_ms=20)
    assert known.level is None and known.alone.asked == 4
    assert within([clients(4, 80, 12), arrivals(50, 10)], p99_ms=20).alone is None


def test_what_all_numbers_of_clients_broke_is_hopeless_only_if_one_alone_was_tried():
    assert within([clients(1, 50, 120), clients(2, 60, 130)], p99_ms=100) == RateBounds(None, 0.0, True)
    assert not within([clients(2, 60, 130)], p99_ms=100).resolved
    assert not within([clients(1, 50, 120), clients(2, 60, 90)], p99_ms=100).resolved
    # A tenth of 50, and the precision of 10 % upon it.
    for rps, hopeless in ((5.49, True), (5.51, False)):
        assert within([clients(1, 50.0), arrivals(rps, 120)], p99_ms=100).resolved is hopeless


@pytest.mark.parametrize(
    ("rates", "resolved"),
    [((300, 400, 410, 405), True), ((300, 400, 421), False), ((300, 400), False), ((300, 310), False),
     ((400, 410, 420), True), ((400, 410, 421), False)],
)  # fmt: skip
def test_the_peak_is_known_once_two_more_steps_brought_no_more_than_a_twentieth(rates, resolved):
    known = closed_within([clients(2**i, rps) for i, rps in enumerate(rates)])
    assert known.resolved is resolved
    assert known.at_most_rps == (max(rates) if resolved else math.inf)
    assert known.clients == (2 ** (len(rates) - 1), None)


def test_of_rates_within_two_percent_the_fewest_clients_stand_for_the_peak():
    for first, asked in ((392.0, 4), (391.9, 8)):
        known = closed_within([clients(4, first), clients(8, 400), clients(16, 399), clients(32, 398)])
        assert known.level.asked == asked and known.level.rate_rps == {4: first, 8: 400}[asked]


def test_clients_whose_load_side_was_busy_leave_the_peak_open():
    for place, matters in ((0, False), (2, True), (3, True)):
        known = closed_within([replace(at, client_limited=i == place) for i, at in enumerate(PEAK)])
        assert (known.client_limited, known.at_most_rps) == (matters, math.inf if matters else 410)
        assert known.level.asked == 32 and known.clients == (64, None)
    # Not even one client kept it: there is nothing more to find, whoever was busy.
    hopeless = closed_within([clients(1, 40, client_limited=True)], p99_ms=20)
    assert (hopeless.at_most_rps, hopeless.resolved, hopeless.client_limited) == (0.0, True, False)


def test_clients_that_kept_a_limit_above_broken_ones_leave_it_open():
    levels = [clients(1, 100, 10), clients(2, 150, 40), clients(4, 260, 15)]
    known = closed_within(levels, p99_ms=20)
    assert (known.level.rate_rps, known.at_most_rps, known.contradicted, known.resolved) == (100, 260, 1, False)
    assert closed_within([clients(1, 100, 25), clients(2, 150, 15), clients(4, 260, 15)], p99_ms=20).contradicted == 1


def test_the_rate_at_which_clients_cross_a_limit_is_estimated_between_them():
    known = closed_within([clients(8, 100, 10), clients(16, 200, 40)], p99_ms=20)
    assert known.estimate_rps == pytest.approx(100 * math.sqrt(2)) and known.clients == (8, 16)
    assert closed_within([clients(8, 100, 10), clients(16, 109, 40)], p99_ms=20).resolved
    assert closed_within([clients(8, 100, 10), clients(16, 109, 40)], p99_ms=20).estimate_rps is None


def test_a_limit_that_both_levels_keep_moves_no_estimate():
    """The p50 falls as batches fill: on a line through both it would cross its limit below the lowest level."""
    levels = [
        a_level(rps, values={"p99_ms": p99, "p50_ms": p50}, completed=0)
        for rps, p99, p50 in ((100, 10, 20), (200, 40, 10))
    ]
    assert within(levels, p99_ms=22.5, p50_ms=30).estimate_rps == pytest.approx(150)


def test_beside_a_trials_rate_stand_its_times_at_that_rate_and_not_those_of_a_slower_level():
    """It was held at 333 requests/s and estimated at 560, where the p99 is the limit."""
    known = within([TrialAnswer(arrivals(333, 15), {"rps": 560.0, "p99_ms": 100.0})], p99_ms=100)
    assert (known.level.rate_rps, known.level.value("p99_ms")) == (560, 100)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"at_most_rps": 99.0}, "bounds need 0 <= at least <= at most, got 100.0 and 99.0"),
        ({"estimate_rps": 99.0}, "an estimate between 100.0 and 200.0 is needed, got 99.0"),
        ({"estimate_rps": 201.0}, "an estimate between 100.0 and 200.0 is needed, got 201.0"),
        ({"estimate_rps": 150.0, "estimate_interval_rps": (140.0, 201.0)}, "an interval around 150.0 between 100.0"),
        ({"estimate_rps": 150.0, "estimate_interval_rps": (99.0, 160.0)}, "an interval around 150.0 between 100.0"),
        ({"estimate_rps": 150.0, "estimate_interval_rps": (151.0, 160.0)}, "an interval around 150.0 between 100.0"),
        ({"estimate_interval_rps": (140.0, 160.0)}, "an interval around None between 100.0 and 200.0"),
        ({"interval_rps": (101.0, 130.0)}, "an interval of 0 or more around the rate 100.0 is needed"),
        ({"interval_rps": (80.0, 99.0)}, "an interval of 0 or more around the rate 100.0 is needed"),
    ],
)
def test_numbers_that_contradict_one_another_are_refused(bad, said):
    with pytest.raises(ValueError, match=said):
        RateBounds(**{"level": arrivals(100.0, 10), "at_most_rps": 200.0, "resolved": False, **bad})


@given(st.floats(0, 1e3), st.floats(0, 1e3), st.floats(0, 1e3))
def test_an_estimate_is_cut_to_what_the_bounds_leave_possible(one, two, three):
    low, rate, high = sorted((one, two, three))
    known = RateBounds(arrivals(100.0, 10), 200.0, False).with_estimate(rate, (low, high))
    assert known.estimate_rps == min(max(rate, 100.0), 200.0)
    assert known.estimate_interval_rps == (min(max(low, 100.0), 200.0), min(max(high, 100.0), 200.0))
    assert known.with_estimate(None) == RateBounds(arrivals(100.0, 10), 200.0, False)
    assert known.with_estimate(150.0).estimate_interval_rps is None


def test_very_slow_services_have_bounds_below_one_request_a_second():
    known = within([arrivals(0.2, 10), arrivals(0.5, 160)], p99_ms=100)
    assert (known.level.rate_rps, known.at_most_rps) == (0.2, 0.5) and 0.2 < known.estimate_rps < 0.5
    assert within([arrivals(0.5, 160)], p99_ms=100).at_most_rps == 0.5
    # One kept a limit by luck above the other: as much as that may be possible, and no more.
    assert within([arrivals(0.2, 160), arrivals(0.5, 10)], p99_ms=100).at_most_rps == 0.5
    slow = [clients(1, 0.2, 10), clients(2, 0.3, 160)]
    assert (closed_within(slow, p99_ms=100).level.rate_rps, closed_within(slow, p99_ms=100).at_most_rps) == (0.2, 0.3)
    assert within([*slow, arrivals(0.25, 160)], p99_ms=100).at_most_rps == 0.25
    assert within([clients(1, 0.2, 10), clients(2, 0.21, 160), arrivals(0.25, 160)], p99_ms=100).at_most_rps == 0.21


def test_that_two_clients_broke_a_limit_says_nothing_of_one():
    known = closed_within([clients(2, 0.3, 160)], p99_ms=100)
    assert (known.level, known.at_most_rps, known.resolved, known.clients) == (None, 0.3, False, (None, 2))


def test_of_clients_that_broke_a_limit_the_highest_rate_up_to_the_first_bounds_arrivals():
    """Four clients had 150 and broke 30 ms; sixteen had 140."""
    closed = [clients(1, 90, 11), clients(4, 150, 35), clients(16, 140, 115)]
    held = [*closed, arrivals(60, 10)]
    assert within(held, p99_ms=30).at_most_rps == 150
    assert within(held, p99_ms=100).at_most_rps == 150  # sixteen broke it: no looser limit has a lower bound
    # Where arrivals kept it at the rate of the first that broke it, the next that broke it bounds them.
    assert within([clients(1, 10, 120), clients(8, 11, 130), arrivals(10, 20)], p99_ms=100).at_most_rps == 11
    # Where more clients kept it than broke it, they say nothing but what they can do at all.
    odd = [clients(1, 90, 60), clients(4, 150, 35), arrivals(60, 10)]
    assert within(odd, p99_ms=50).at_most_rps == math.inf


def test_clients_bound_arrivals_also_between_two_levels():
    known = within([arrivals(100, 10), arrivals(400, 160), clients(1, 90, 11), clients(8, 222, 120)], p99_ms=100)
    assert (known.level.rate_rps, known.at_most_rps) == (100, 222) and known.estimate_rps <= 222


def test_the_interval_of_a_peak_is_that_of_its_level_if_the_rate_lies_in_it():
    level = clients(16, 400, rate_low_rps=390.0, rate_high_rps=410.0)
    peak = [clients(8, 300), level, clients(32, 401), clients(64, 402)]
    assert closed_within(peak).interval_rps == (390.0, 410.0)
    odd = [replace(at, rate_low_rps=450.0, rate_high_rps=460.0) if at is level else at for at in peak]
    assert closed_within(odd).interval_rps is None
