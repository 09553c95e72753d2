"""Latencies at a rate between two levels."""

import pytest

from serve_deployments.measuring.estimating import at_rate
from serve_deployments.measuring.level import open_level
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.replicas.fakes import FakeServer, VirtualClock, run_virtual

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
