"""Which limits a level keeps, and what a limit says of the load that may be tried."""

import math

import pytest

from serve_deployments.measuring.slo import broken, check, excess, largest_within, most_in_flight, room, tightest_s
from serve_deployments.metrics.metric_table import STATISTICS
from tests.levels import a_level


def test_room_is_the_smallest_of_limit_over_latency_and_no_less_than_1():
    level = a_level(10.0, latency_s=[0.05] * 100)
    assert room(level, {"p99_ms": 200.0, "mean_ms": 100.0}) == pytest.approx(2.0, rel=2e-3)
    assert room(level, {"p99_ms": 200.0}) == pytest.approx(4.0, rel=2e-3)
    assert room(level, {"p99_ms": 20.0, "mean_ms": 100.0}) == 1.0
    assert room(level, {"error_rate": 0.5}) == room(a_level(10.0, latency_s=[]), {"p99_ms": 10.0}) == 1.0


def test_a_limit_is_kept_up_to_its_own_value_and_broken_by_what_has_no_value():
    level = a_level(10.0, latency_s=[0.1] * 9 + [0.3], error_rate=0.02)
    mean_ms = level.metrics["mean_ms"]
    assert broken(level, {"mean_ms": mean_ms, "error_rate": 0.02}) == ()
    limits = {"mean_ms": 0.999 * mean_ms, "max_ms": 301.0, "error_rate": 0.019}
    assert broken(level, limits) == ("mean_ms", "error_rate")
    silent = a_level(10.0, latency_s=[], error_rate=0.0)
    assert broken(silent, {"p99_ms": 1e9, "error_rate": 0.0}) == ("p99_ms",)
    lost = a_level(10.0, latency_s=[0.1], overloaded=True)
    assert broken(lost, {"p99_ms": 1e9, "error_rate": 1.0}) == ("p99_ms", "error_rate")


def test_what_is_over_a_limit_is_said_with_both_numbers():
    level = a_level(10.0, latency_s=[0.12], error_rate=0.5)
    assert excess(level, {"mean_ms": 100.0, "max_ms": 200.0}) == "mean_ms is 120, the limit 100"
    assert excess(level, {"mean_ms": 120.0}) == ""
    assert excess(level, {"mean_ms": 100.0, "error_rate": 0.1}).endswith(", error_rate is 0.5, the limit 0.1")
    assert excess(a_level(10.0, latency_s=[]), {"p99_ms": 5.0}) == "p99_ms has no value"
    lost = a_level(10.0, latency_s=[0.05], overloaded=True, achieved_rps=7.25)
    assert excess(lost, {"mean_ms": 100.0}) == "overloaded, only 7.25 requests/s were answered"


def test_the_tightest_limit_is_the_lowest_on_a_latency():
    assert tightest_s({"p99_ms": 200.0, "mean_ms": 50.0, "error_rate": 0.001}) == 0.05
    assert tightest_s({"error_rate": 0.001}) == math.inf


@pytest.mark.parametrize("name", STATISTICS)
def test_three_times_what_a_limit_on_the_tail_has_in_flight_is_lost_and_ten_times_for_the_bulk(name):
    times = 3 if name in ("p95_ms", "p99_ms", "p999_ms", "max_ms") else 10
    assert most_in_flight(100.0, {name: 200.0}) == times * 20
    assert most_in_flight(100.1, {name: 200.0}) == times * 20 + 1  # rounded up
    assert most_in_flight(1.0, {name: 200.0}) == 16  # about a batch is no queue
    assert most_in_flight(100.0, {name: 200.0, "max_ms": 50.0, "error_rate": 0.001}) == 16
    assert most_in_flight(1000.0, {name: 200.0, "max_ms": 50.0}) == 150


def test_without_a_limit_on_a_latency_any_queue_may_be():
    assert most_in_flight(100.0, {"error_rate": 0.1}) is None


def test_what_can_be_limited_is_said():
    check({"p99_ms": 0.0, "error_rate": 0.0, "p42_ms": 1.0})
    with pytest.raises(
        ValueError,
        match="^p42, rps cannot be limited; limits are possible on p50_ms, .*, error_rate, ttft_p50_ms, .*; ",
    ):
        check({"rps": 1.0, "p99_ms": 1.0, "p42": 1.0})
    with pytest.raises(ValueError, match="^no limit was given; .*peak_rate"):
        check({})
    with pytest.raises(ValueError, match="limit of p99_ms must be 0 or more, got -1"):
        check({"error_rate": 0.1, "p99_ms": -1})


@pytest.mark.parametrize(
    ("name", "at_most", "largest"),
    [
        ("p95_ms", {"p99_ms": 100.0}, 100.0),
        ("p95_ms", {"p99_ms": 100.0, "p95_ms": 40.0, "p97_ms": 60.0}, 40.0),
        ("p99_ms", {"p95_ms": 40.0}, math.inf),
        ("mean_ms", {"p99_ms": 100.0}, math.inf),
        ("mean_ms", {"max_ms": 100.0, "mean_ms": 30.0}, 30.0),
        ("mean_ms", {"max_ms": 100.0}, 100.0),
        ("error_rate", {"error_rate": 0.01, "p99_ms": 100.0}, 0.01),
        ("rps", {"max_ms": 100.0}, math.inf),
    ],
)
def test_a_limit_bounds_every_statistic_that_is_never_above_its_own(name, at_most, largest):
    assert largest_within(name, at_most) == largest
