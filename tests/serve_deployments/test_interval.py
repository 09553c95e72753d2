"""Intervals cover what they should: simulated servers whose rate is known, seeds fixed."""

import math

import numpy as np
import pytest

from serve_deployments.load.events import Events
from serve_deployments.measuring import interval
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.measuring.rules import UntilPrecise


def services_s(kind, rng, count):
    """Relative lengths of `count` batches, of mean 1."""
    if kind == "gamma":
        return rng.gamma(25, 1 / 25, count)  # coefficient of variation 0.2
    if kind == "exponential":
        return rng.exponential(1, count)
    x, memory = np.empty(count), 0.6  # autoregressive
    x[0], steps = rng.standard_normal(), rng.standard_normal(count) * math.sqrt(1 - memory**2)
    for i in range(1, count):
        x[i] = memory * x[i - 1] + steps[i]
    return np.maximum(1 + 0.1 * x, 0.1)


def held(ends_s, batch, plan):
    """A closed level of such batches, by the rule that a load test has."""
    events, rule, looked = Events(0.0), UntilPrecise(plan), 0
    for end_s in ends_s:
        for _ in range(batch):
            events.end(end_s, 1.0, batch)
        if len(events.ended_s) > (1 + rule.look_after) * looked:
            looked = len(events.ended_s)
            finding = rule.look(events)
            if finding is not None and finding.over:
                return finding
    raise AssertionError("never sure")


@pytest.mark.parametrize(
    ("kind", "mean_s", "batch", "missed"),
    # Of 95 %, 60 runs miss 8 or more in 1 of 100 cases. A memory of some bursts shows only in longer runs: 87 %.
    [("gamma", 0.02, 4, 8), ("exponential", 0.005, 1, 8), ("ar", 0.02, 2, 13)],
)
def test_the_interval_at_the_stop_covers_the_rate(kind, mean_s, batch, missed):
    plan = LoadPlan(level_max_s=1e6)
    rng, runs, covered = np.random.default_rng(4), 60, 0
    for _ in range(runs):
        finding = held(mean_s * np.cumsum(services_s(kind, rng, 10_000)), batch, plan)
        low, high = finding.estimate.bounds()
        covered += low <= batch / mean_s <= high
        assert high - low <= 2 * 0.05 * finding.estimate.mean
    assert covered >= runs - missed


def test_bursts_are_not_cut():
    ends_s = np.repeat(np.arange(1.0, 101.0), 16)
    at = interval.cuts(ends_s, 10)
    assert at.size >= 10 and set(at % 16) == {15}
    estimate = interval.rate(ends_s, np.ones(ends_s.size))
    assert estimate.mean == pytest.approx(16) and estimate.error == pytest.approx(0, abs=1e-9)


def test_failures_take_time_but_do_not_count():
    ends_s = np.arange(1000) * 0.01
    estimate = interval.rate(ends_s, (np.arange(1000) % 4 != 0).astype(float))
    assert estimate.mean == pytest.approx(75, rel=0.01)


def test_correlation_widens_the_interval_of_a_mean():
    """Of an autoregressive process the variance of a mean is (1 + r) / (1 - r) times that of independent values."""
    rng, n, memory = np.random.default_rng(0), 20_000, 0.9
    x = np.empty(n)
    x[0] = 0.0
    for i, step in enumerate(rng.standard_normal(n - 1) * math.sqrt(1 - memory**2)):
        x[i + 1] = memory * x[i] + step
    assert interval.mean(x).error == pytest.approx(math.sqrt(19 / n), rel=0.5)
    assert interval.mean(rng.permutation(x)).error == pytest.approx(math.sqrt(1 / n), rel=0.5)


def test_a_random_walk_has_no_drift_and_an_overloaded_queue_has():
    rng, false_alarms = np.random.default_rng(1), 0
    for _ in range(400):
        slope, error = interval.drift(np.cumsum(rng.standard_normal(20)))
        false_alarms += slope > 3 * error
    assert false_alarms <= 6  # 0.4 % of Student's t with 18 degrees of freedom, one side
    slope, error = interval.drift(np.cumsum(1 + 0.3 * rng.standard_normal(20)))
    assert slope > 3 * error


def test_warm_up_is_left_out_and_a_later_stall_is_not():
    steady = 100 + np.random.default_rng(2).standard_normal(30)
    assert 4 <= interval.warm_from(np.concatenate([[10, 20, 40, 80], steady])) < 12
    stalled = steady.copy()
    stalled[5] = 20
    assert interval.warm_from(stalled) == 0
