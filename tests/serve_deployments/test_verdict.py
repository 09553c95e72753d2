"""Verdicts against queues whose latencies follow a formula, seeds fixed."""

import math

import numpy as np
import pytest

from serve_deployments.measuring.verdict import SURE, all_kept, kept


def waiting_queue(rate, count, rng):
    """Latencies of an M/M/1 queue of capacity 1 in steady state (Lindley's recursion).

    P(latency > t) = exp(-(1 - rate) t), so its p99 is log(100) / (1 - rate).
    """
    arrivals, services = rng.exponential(1 / rate, count), rng.exponential(1, count)
    wait_s, latencies_s = rng.exponential(1 / (1 - rate)) * (rng.random() < rate), np.empty(count)
    for i in range(count):
        latencies_s[i] = wait_s + services[i]
        wait_s = max(0.0, latencies_s[i] - arrivals[i])
    return latencies_s


def decided(latencies_s, name, limit):
    """The verdict of a level that is looked at again and again, and how many requests it took."""
    count = 24
    while count <= latencies_s.size:
        if (verdict := kept(name, limit, latencies_s[:count], 0.05)) is not None:
            return verdict, count
        count = math.ceil(count * 1.1)
    return None, count


@pytest.mark.parametrize(("share", "expected"), [(0.002, True), (0.03, False), (0.05, False)])
def test_a_p99_limit_that_far_too_few_or_many_break_is_decided_rightly(share, expected):
    rng, rate = np.random.default_rng(3), 0.7
    limit_ms = 1e3 * math.log(1 / share) / (1 - rate)  # so that this share of all requests is above it
    verdicts = [decided(waiting_queue(rate, 8000, rng), "p99_ms", limit_ms)[0] for _ in range(40)]
    # 5 % of wrong ones are meant; 40 runs have more than 4 in 1 of 20 cases.
    assert verdicts.count(not expected) <= 4, verdicts.count(not expected)
    assert verdicts.count(expected) >= 30


def test_what_is_far_off_is_known_at_once():
    assert decided(np.full(1000, 0.5), "p99_ms", 100.0) == (False, 24)
    verdict, count = decided(np.full(1000, 0.05), "p99_ms", 100.0)
    assert verdict is True and 100 < count < 300  # log(19) over what one request without fault tells


def test_a_mean_is_decided_beyond_a_precision():
    rng = np.random.default_rng(0)
    values_s = rng.exponential(0.1, 20_000)
    assert decided(values_s, "mean_ms", 120.0)[0] is True
    assert decided(values_s, "mean_ms", 80.0)[0] is False


def test_errors_count_and_one_is_too_many_where_none_is_allowed():
    latencies_s = np.full(400, 0.01)
    assert kept("error_rate", 0.0, latencies_s, 0.05) is True
    latencies_s[200] = np.nan
    assert kept("error_rate", 0.0, latencies_s, 0.05) is False
    assert kept("max_ms", 5.0, latencies_s, 0.05) is False
    assert SURE == pytest.approx(math.log(19))


def test_all_limits_are_kept_only_if_each_is():
    latencies_s = np.full(400, 0.05)
    assert all_kept({"p99_ms": 100, "p50_ms": 100}, latencies_s, 0.05) is True
    assert all_kept({"p99_ms": 100, "p50_ms": 10}, latencies_s, 0.05) is False
    assert all_kept({"p99_ms": 100}, latencies_s[:30], 0.05) is None
