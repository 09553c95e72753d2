"""How far simulated latencies are off, against levels whose error is known."""

import math
from dataclasses import astuple

import numpy as np
import pytest

from serve_deployments.measuring.predicting.batch_queue import BatchQueue
from serve_deployments.measuring.predicting.calibration import Arrived, latency_error
from serve_deployments.resources.usage import BatchTime, Usage
from tests.levels import requests

SERVICE_S = 0.01
QUEUE = BatchQueue(np.array([SERVICE_S]), np.ones(20))


def held(longer=1.0, rate_rps=70.0, count=400, seed=0, burst=0):
    """An open level of a server that takes 10 ms for each request, whose latencies are `longer` than the queue's."""
    due_s = np.cumsum(np.random.default_rng(seed).exponential(1 / rate_rps, count))
    due_s[:burst] = due_s[0]
    free_s, ended_s = 0.0, np.empty(count)
    for i, at_s in enumerate(due_s):
        ended_s[i] = free_s = max(free_s, at_s) + SERVICE_S
    return Arrived(rate_rps, due_s, longer * (ended_s - due_s), np.ones(count, dtype=bool))


def test_before_any_level_latencies_may_be_off_by_a_tenth_either_way():
    for levels in ([], [held(count=20)]):
        assert astuple(latency_error(QUEUE, levels, 0.01, 70.0)) == pytest.approx((0.0, 0.1))


@pytest.mark.parametrize("share", [0.01, 0.5, None])
def test_a_level_shows_the_error_as_far_as_its_own_speed_is_known(share):
    """Its own error is 5 %, so that 1 / (1 + 0.25) of what it shows is common to all levels; and a hundredth by
    rounding."""
    found = latency_error(QUEUE, [held(longer=1.1)], share, 70.0)
    assert found.log_ratio == pytest.approx(0.8 * math.log(1.1), rel=0.01)
    assert found.spread == pytest.approx(0.1 * math.sqrt(0.2), rel=0.01)
    # Levels that say the same are no reason to doubt either.
    twice = latency_error(QUEUE, [held(longer=1.1), held(longer=1.1, seed=1)], share, 70.0)
    assert twice.log_ratio == pytest.approx(8 / 9 * math.log(1.1), rel=0.01) and twice.spread < found.spread


def test_the_luck_of_arrivals_is_no_error():
    """Thirty requests at once make a tenth of all of them slow; the queue has the same thirty."""
    lucky, unlucky = held(), held(burst=30)
    assert np.quantile(unlucky.latency_s, 0.95) > 1.5 * np.quantile(lucky.latency_s, 0.95)
    for level in (lucky, unlucky):
        assert latency_error(QUEUE, [level], 0.01, 70.0).log_ratio == pytest.approx(0.0, abs=1e-6)


def slow_at_first(batches=()):
    """A level whose first hundred batches took half as long again."""
    due_s = held(count=400).due_s
    took_s = SERVICE_S * np.where(np.arange(400) < 100, 1.5, 1.0)
    free_s, ended_s = 0.0, np.empty(400)
    for i, at_s in enumerate(due_s):
        ended_s[i] = free_s = max(free_s, at_s) + took_s[i]
    its = tuple(BatchTime(1, float(took)) for took in took_s)
    return Arrived(70.0, due_s, ended_s - due_s, np.ones(400, dtype=bool), its if batches else ())


def test_the_luck_of_batches_is_no_error_where_they_are_known():
    assert latency_error(QUEUE, [slow_at_first(batches=True)], 0.01, 70.0).log_ratio == pytest.approx(0.0, abs=1e-6)
    assert latency_error(QUEUE, [slow_at_first()], 0.01, 70.0).log_ratio > 0.3


def test_batches_are_known_if_all_of_the_level_are_reported():
    sent, measured = requests([0.3, 0.1], ended_s=[1.3, 1.35]), np.ones(2, dtype=bool)
    recent = (BatchTime(1, 0.1), BatchTime(1, 0.2))
    for count, known in ((2, recent), (3, ())):
        usage = Usage(seconds=1.0, batches={1: count}, busy_s=0.3, recent=recent)
        assert Arrived.of(5.0, sent, measured, usage).batches == known
    assert Arrived.of(5.0, sent, measured).batches == ()


def test_a_level_at_a_far_rate_says_less():
    near, far = (latency_error(QUEUE, [held(longer=1.1)], 0.01, rate_rps) for rate_rps in (70.0, 140.0))
    assert far.spread > near.spread and far.log_ratio < near.log_ratio
    own = 0.005**2 + 0.05**2 + (0.1 * math.log(2)) ** 2
    assert far.log_ratio == pytest.approx(math.log(1.1) * (1 / own) / (1 / own + 100), rel=1e-6)


def test_levels_that_contradict_one_another_are_believed_no_more_than_before():
    """One with a stall that no queue knows of, among three without."""
    found = latency_error(QUEUE, [held(seed=1), held(seed=2), held(seed=3), held(longer=3.0)], 0.01, 70.0)
    assert 0.09 < found.spread < 0.1 and found.log_ratio < 0.1


def test_requests_are_simulated_as_they_were_due_and_compared_where_they_were_measured():
    """Ended in another order than due; the first is warm-up, and one failed."""
    sent = requests([0.3, 0.1, math.nan, 0.2], ended_s=[1.3, 1.35, 1.4, 1.5])
    arrived = Arrived.of(5.0, sent, np.array([False, True, True, True]))
    assert arrived.due_s.tolist() == pytest.approx([1.0, 1.25, 1.3, 1.4])
    assert arrived.measured.tolist() == [False, True, True, False]
    assert arrived.latency_s[:3].tolist() == pytest.approx([0.3, 0.1, 0.2])
