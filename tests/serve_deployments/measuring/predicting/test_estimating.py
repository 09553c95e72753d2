"""Latencies at a rate between two levels."""

import pytest

from serve_deployments.fakes.virtual_replicas import FakeServer, VirtualClock, run_virtual
from serve_deployments.measuring.level import open_level
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.measuring.predicting.estimating import at_rate, on_log_line
from tests.levels import a_level

PLAN = LoadPlan(level_min_s=5.0, level_max_s=10.0)


def level(rate_rps, plan=PLAN):
    return run_virtual(
        open_level(FakeServer(lambda size: 0.01), ["x"], rate_rps, plan, clock=VirtualClock(), max_in_flight=100)
    )


def test_latencies_are_between_those_of_the_levels_around_and_within_limits():
    slow, fast = level(40.0), level(85.0)
    found = at_rate(70.0, slow, [slow, fast], {"p50_ms": 0.0, "p99_ms": 1.05 * slow.metrics["p99_ms"]})
    assert found["rps"] == 70.0 and found["error_rate"] == 0.0
    assert slow.metrics["mean_ms"] < found["mean_ms"] < fast.metrics["mean_ms"]
    assert found["p99_ms"] == pytest.approx(1.05 * slow.metrics["p99_ms"])  # just kept
    assert found["p50_ms"] == slow.metrics["p50_ms"]  # never below what a lower rate showed
    assert at_rate(85.0, fast, [slow, fast], {}) == {**fast.metrics, "rps": 85.0}


def test_of_a_level_that_was_overloaded_no_latency_is_taken():
    slow, lost = level(40.0), level(300.0)
    assert lost.overloaded and at_rate(70.0, slow, [slow, lost], {}) == {**slow.metrics, "rps": 70.0}


def test_latencies_are_on_a_line_of_their_logarithm_over_that_of_the_rate():
    """Halfway between 10 and 40 requests/s is 20, halfway between 100 and 400 ms 200."""
    slow, fast = a_level(10.0, latency_s=[0.1]), a_level(40.0, latency_s=[0.4])
    found = at_rate(20.0, slow, [slow, fast], {"p99_ms": 150.0})
    assert found["mean_ms"] == pytest.approx(200) and found["max_ms"] == pytest.approx(200)
    assert found["p99_ms"] == 150.0 and found["rps"] == 20.0 and found["error_rate"] == 0.0
    # The next level above counts, whatever is farther; none that was closed, slower, or overloaded.
    others = [a_level(80.0, latency_s=[9.0]), a_level(clients=8), a_level(15.0, latency_s=[7.0])]
    lost = a_level(30.0, latency_s=[5.0], overloaded=True)
    assert at_rate(20.0, slow, [*others, fast, lost], {})["mean_ms"] == pytest.approx(200)


def test_a_log_line_is_a_power_and_the_same_line_either_way():
    assert on_log_line(20.0, (10.0, 100.0), (40.0, 400.0)) == pytest.approx(200)
    assert on_log_line(30.0, (10.0, 1.0), (100.0, 1000.0)) == pytest.approx(27.0)  # (x / 10)³
    assert on_log_line(27.0, (1.0, 10.0), (1000.0, 100.0)) == pytest.approx(30.0)


def test_a_latency_that_was_longer_below_stays_and_one_without_a_value_is_left_out():
    slow, fast = a_level(10.0, latency_s=[0.3]), a_level(40.0, latency_s=[0.2])
    assert at_rate(20.0, slow, [fast], {})["mean_ms"] == pytest.approx(300)
    silent = a_level(10.0, latency_s=[])
    assert at_rate(20.0, silent, [fast], {}) == {"rps": 20.0, "error_rate": 0.0}
    above = a_level(20.0, latency_s=[0.5])
    assert at_rate(15.0, above, [fast], {})["mean_ms"] == pytest.approx(500)  # it was faster already


def test_statistics_of_one_time_stay_in_order_where_a_limit_bounds_one_of_them():
    """The p99 is at its limit at the rate, so the p95 is not above it, and the mean is not above a limited maximum."""
    slow, fast = a_level(10.0, latency_s=[0.02] * 9 + [0.05]), a_level(40.0, latency_s=[0.1] * 9 + [0.9])
    for limited in ("p95_ms", "p99_ms", "max_ms", "p97_ms"):
        found = at_rate(30.0, slow, [slow, fast], {limited: 60.0})
        assert found[limited] == 60.0
        in_order = [found[name] for name in ("p50_ms", "p75_ms", "p90_ms", "p95_ms", "p99_ms", "p999_ms", "max_ms")]
        assert in_order == sorted(in_order) and found["mean_ms"] <= found["max_ms"]
    # What is higher, and the mean under a limited percentile, is not bounded by it.
    found = at_rate(30.0, slow, [slow, fast], {"p95_ms": 60.0})
    assert found["max_ms"] > 60.0
