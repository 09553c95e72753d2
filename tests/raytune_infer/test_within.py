"""What levels say of the highest rate within limits, on curves computed by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raytune_infer.recommending.curve import Level
from raytune_infer.recommending.within import Limits, arrivals_within, clients_within

PRECISION = 0.1


def arrivals(rps: float, p99_ms: float, **more) -> Level:
    return Level("open", rps, more.pop("achieved", rps), {"rps": rps, "p99_ms": p99_ms, "error_rate": 0.0}, **more)


def clients(number: int, rps: float, p99_ms: float = 0.0, **more) -> Level:
    return Level("closed", number, rps, {"rps": rps, "p99_ms": p99_ms or 1e3 * number / rps}, **more)


def within(levels, held_under=100.0, **limits: float):
    """Latencies in ms, the run's limit of p99 beside them."""
    return arrivals_within(levels, Limits(limits, {"p99_ms": held_under}), PRECISION)


# p99 = 10 ms x (rate / 100)², up to 400 where the queue grows.
CURVE = [arrivals(100, 10), arrivals(200, 40), arrivals(400, 160, overloaded=True, fell_behind=True)]
FINE = [*CURVE, arrivals(280, 78.4), arrivals(305, 93.0), arrivals(330, 108.9)]


def test_what_the_run_found_is_found_again():
    known = within(FINE, p99_ms=100)
    assert known.level.rps == 305 and known.at_most_rps == 330 and known.resolved and known.estimate_rps is None


def test_between_two_levels_far_apart_the_crossing_is_estimated_and_not_believed():
    known = within(CURVE, p99_ms=22.5)
    assert (known.level.rps, known.at_most_rps, known.resolved) == (100, 200, False)
    assert known.estimate_rps == pytest.approx(150)  # exact, as the curve is a power of the rate


@given(st.floats(10.1, 39.9))
def test_an_estimate_lies_between_its_levels(limit):
    assert 100 < within(CURVE, p99_ms=limit).estimate_rps < 200


def test_of_several_limits_the_first_to_be_crossed_counts():
    levels = [arrivals(100, 10), arrivals(200, 40)]
    levels = [Level(**{**vars(at), "metrics": {**at.metrics, "p50_ms": at.rps / 10}}) for at in levels]
    assert within(levels, p99_ms=22.5, p50_ms=10.5).estimate_rps == pytest.approx(105)


def test_nothing_is_estimated_from_an_overloaded_level():
    known = within(CURVE, p99_ms=100)
    assert (known.level.rps, known.at_most_rps, known.estimate_rps) == (200, 400, None)


def test_above_the_highest_level_nothing_is_known():
    known = within(CURVE[:2], held_under=100, p99_ms=100)
    assert (known.level.rps, known.at_most_rps, known.resolved) == (200, math.inf, False)


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
    assert (known.level.rps, known.contradicted) == (100, 1)
    assert known.at_most_rps == 300  # but a new trial may find it so


def test_a_level_broken_by_chance_below_several_kept_ones_is_not_believed():
    known = within([arrivals(100, 130), arrivals(200, 40), arrivals(280, 78), arrivals(300, 120)], p99_ms=100)
    assert (known.level.rps, known.at_most_rps, known.resolved, known.contradicted) == (280, 300, True, 1)


def test_a_busy_load_side_hides_what_more_there_is():
    known = within([arrivals(100, 10), arrivals(105, 120, client_limited=True)], p99_ms=100)
    assert (known.level.rps, known.at_most_rps, known.resolved, known.client_limited) == (100, math.inf, False, True)


def test_clients_that_wait_bound_arrivals_from_above_and_never_from_below():
    # 4 clients broke 20 ms at 150 requests/s: arrivals at 150 queue deeper. One kept them: only a hint.
    closed = [clients(1, 90), clients(4, 150)]
    known = within([*closed, arrivals(200, 40)], p99_ms=20)
    assert (known.level, known.at_most_rps) == (None, 150) and known.alone.asked == 1
    # No bound against what arrivals themselves showed.
    assert within([*closed, arrivals(200, 15)], p99_ms=20).at_most_rps == math.inf


def test_more_clients_that_bring_no_more_show_what_the_replica_can_do():
    closed = [clients(1, 80), clients(4, 82)]
    known = within([*closed, arrivals(60, 40)], p99_ms=100)
    assert known.level.rps == 60 and known.at_most_rps == pytest.approx(1.05 * 82)


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
    assert within([Level("open", 10, 10, {"rps": 10.0})], p99_ms=100).level is None
