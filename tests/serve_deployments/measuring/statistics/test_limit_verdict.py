"""Verdicts against queues whose latencies follow a formula, seeds fixed."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import lfilter

from serve_deployments.measuring.statistics.limit_verdict import (
    SURE,
    LimitEvidence,
    _memory,
    all_kept,
    allowed_share,
    design_effect,
    evidence,
    kept,
    most_above,
)
from serve_deployments.metrics.metric_table import METRICS, Metric
from tests.levels import requests


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
        if (verdict := kept(name, limit, requests(latencies_s[:count]), 0.05)) is not None:
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


def test_how_much_neighbours_remember_is_estimated_without_bias():
    """Of short series it would come out too low by (1 + 4 r) / n (Marriott and Pope 1954), here by 0.034."""
    rng, estimates = np.random.default_rng(0), []
    for _ in range(2000):
        alone = _memory(lfilter([1], [1, -0.6], rng.standard_normal(300))[200:])
        estimates.append((alone - 1) / (alone + 1))
    assert np.mean(estimates) == pytest.approx(0.6, abs=0.005)


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
    assert kept("error_rate", 0.0, requests(latencies_s), 0.05) is True
    latencies_s[200] = np.nan
    assert kept("error_rate", 0.0, requests(latencies_s), 0.05) is False
    assert kept("max_ms", 5.0, requests(latencies_s), 0.05) is False
    assert SURE == pytest.approx(math.log(19))


def test_all_limits_are_kept_only_if_each_is():
    latencies_s = np.full(400, 0.05)
    assert all_kept({"p99_ms": 100, "p50_ms": 100}, requests(latencies_s), 0.05) is True
    assert all_kept({"p99_ms": 100, "p50_ms": 10}, requests(latencies_s), 0.05) is False
    assert all_kept({"p99_ms": 100}, requests(latencies_s[:30]), 0.05) is None


# --- by hand


def requests_until(share, above_of=lambda n: 0):
    """How many requests, of which so many are above, a limit that a share may break takes to be decided."""
    return next(n for n in range(1, 100_000) if LimitEvidence(share, above_of(n), n).kept(0.05) is not None)


@pytest.mark.parametrize("share", [0.5, 0.1, 0.05, 0.01, 0.001])
def test_the_test_is_walds_between_odds_of_two_and_a_half_times_less_and_more(share):
    odds = share / (1 - share)
    low, high = odds / 2.5 / (1 + odds / 2.5), 2.5 * odds / (1 + 2.5 * odds)
    expected = math.ceil(math.log(19) / math.log((1 - low) / (1 - high)))
    assert requests_until(share) == expected and LimitEvidence(share, 0, expected).kept(0.05) is True
    all_above = math.ceil(math.log(19) / math.log(high / low))
    assert requests_until(share, lambda n: n) == all_above and LimitEvidence(share, 9, 9).kept(0.05) is False
    # Requests in bursts of ten take ten times as many.
    assert LimitEvidence(share, 0, 10 * (expected - 1), effect=10.0).kept(0.05) is None
    assert LimitEvidence(share, 0, 10 * expected, effect=10.0).kept(0.05) is True


def test_a_mean_is_decided_by_a_zone_as_wide_as_the_precision():
    """2 x 5 % x 0.1 / error^2: 4 with an error of 0.05, 2.8 with one of 0.06, and log(19) is 2.9."""
    for sign in (-1, 1):
        assert LimitEvidence(log_ratio=0.1 * sign, error=0.05).kept(0.05) is (sign < 0)
        assert LimitEvidence(log_ratio=0.1 * sign, error=0.06).kept(0.05) is None
        assert LimitEvidence(log_ratio=0.1 * sign, error=0.06).kept(0.06) is (sign < 0)


def test_a_limit_holds_by_what_was_seen():
    assert LimitEvidence(0.01, 10, 1000).holds and not LimitEvidence(0.01, 11, 1000).holds
    assert LimitEvidence(log_ratio=0.0).holds and not LimitEvidence(log_ratio=0.01).holds
    assert (
        not LimitEvidence(0.01, 0, 1000, certain=True).holds
        and LimitEvidence(0.01, 0, 1000, certain=True).kept(0.05) is False
    )


@pytest.mark.parametrize(("share_above", "breaks"), [(0.03, 2), (0.003, 1), (0.2, 4), (0.0002, 0), (0.35, 5), (0.7, 6)])
def test_each_percentile_allows_its_own_share(share_above, breaks):
    """3 % above a limit are within a p95 and beyond a p99."""
    names = ["p999_ms", "p99_ms", "p95_ms", "p90_ms", "p75_ms", "p50_ms"]
    latency_s = np.random.default_rng(0).permutation(np.where(np.arange(20_000) < share_above * 20_000, 0.2, 0.1))
    found = [kept(name, 150.0, requests(latency_s), 0.05) for name in names]
    assert {type(one) for one in found} <= {bool, type(None)}  # numpy's own truth values are not `True`
    assert [one is False for one in found] == [i < breaks for i in range(6)]
    assert [allowed_share(METRICS[name]) for name in names] == pytest.approx([0.001, 0.01, 0.05, 0.1, 0.25, 0.5])
    assert allowed_share(METRICS["mean_ms"]) is None and allowed_share(METRICS["max_ms"]) == 0.01


def test_failures_are_errors_and_no_latencies():
    latency_s = np.random.default_rng(1).permutation(np.where(np.arange(2000) < 500, math.nan, 0.1))
    errors = evidence("error_rate", 0.1, requests(latency_s))
    assert (errors.share, errors.above, errors.count) == (0.1, 500, 2000) and not errors.holds
    tail = evidence("p99_ms", 150.0, requests(latency_s))
    assert (tail.share, tail.above, tail.count) == (pytest.approx(0.01), 0, 1500) and tail.holds
    assert evidence("p99_ms", 100.0, requests(latency_s)).above == 0  # as long as the limit is within it
    mean = evidence("mean_ms", 50.0, requests(latency_s))
    assert mean.log_ratio == pytest.approx(math.log(2)) and mean.error == pytest.approx(1e-3)
    assert evidence("error_rate", 1.0, requests(latency_s)).share == pytest.approx(0.99)  # all may fail
    assert evidence("mean_ms", 0.0, requests(latency_s)).certain
    assert not evidence("mean_ms", 1e-9, requests(latency_s)).certain
    assert (
        evidence("max_ms", 150.0, requests(latency_s)).share == 0.01
    )  # that none is above can't be shown: as for a p99
    assert evidence("error_rate", 0.0, requests(np.full(5, math.nan))).certain  # one failure is enough
    for name in ("p99_ms", "mean_ms", "error_rate"):
        assert evidence(name, 0.1, requests(latency_s[:20])) is None  # no six batches of four


def test_the_share_above_is_that_of_the_limit_on_a_time_that_most_are_above():
    these = requests([0.1, 0.2, 0.3, math.nan])
    assert (
        most_above({"p99_ms": 250.0}, these) == 0.25 and most_above({"p99_ms": 250.0, "mean_ms": 150.0}, these) == 0.5
    )
    assert most_above({"error_rate": 0.0}, these) == 0.0 and most_above({"max_ms": 300.0}, these) == 0.0


def test_all_limits_are_kept_or_one_is_not_or_it_is_open():
    quick = np.full(100, 0.05)  # enough for a p50, not for a p99
    assert all_kept({"p50_ms": 100}, requests(quick), 0.05) is True
    assert all_kept({"p50_ms": 100, "p99_ms": 100}, requests(quick), 0.05) is None
    assert all_kept({"p99_ms": 100, "p50_ms": 10}, requests(quick), 0.05) is False


# --- how much requests that remember tell


def test_independent_requests_count_as_they_are_and_pairs_as_half():
    rng = np.random.default_rng(2)
    values = rng.random(40_000)
    assert design_effect(values > 0.9, values) == pytest.approx(1.0, abs=0.5)
    # r is one half: (1 + r) / (1 - r) is 3, more than the 2 of batch means, as pairs know no longer memory.
    pairs = np.repeat(values, 2)
    assert design_effect(pairs > 0.9, pairs) == pytest.approx(3.0, rel=0.1)
    assert design_effect(np.zeros(100, dtype=bool), np.full(100, 0.5)) == 1.0
    assert design_effect(np.zeros(23, dtype=bool), values[:23]) is None
    assert design_effect(np.zeros(24, dtype=bool), values[:24]) is not None


@pytest.mark.parametrize("memory", [0.3, 0.6, 0.9])
def test_of_an_autoregressive_process_it_is_that_of_its_neighbours(memory):
    """(1 + r) / (1 - r)."""
    steps = np.random.default_rng(3).standard_normal(40_000) * math.sqrt(1 - memory**2)
    values = lfilter([1.0], [1.0, -memory], steps)
    found = design_effect(np.zeros(values.size, dtype=bool), values)
    assert found == pytest.approx((1 + memory) / (1 - memory), rel=0.15)


def test_no_more_than_a_hundred_requests_of_memory_are_believed():
    ramp = np.linspace(0.1, 0.2, 120)  # r is all but 1: (1 + 0.98) / (1 - 0.98)
    assert design_effect(np.zeros(120, dtype=bool), ramp) == pytest.approx(99.0)


def test_bursts_above_a_limit_count_by_what_their_batches_show():
    """Latencies of neighbours are alike at random, but those above the limit come fifty at once."""
    rng = np.random.default_rng(4)
    above = np.repeat(rng.random(400) < 0.1, 50)
    values = np.where(above, 1.0, 0.0) + 10 * rng.standard_normal(above.size)
    assert design_effect(above, values) == pytest.approx(50, rel=0.6)
    # While hardly any is above, the slowest tenth stands for them.
    few = np.zeros(above.size, dtype=bool)
    few[[5, 5000, 10_000]] = True
    slow = np.where(above, 10.0, 0.0) + rng.random(above.size)
    assert design_effect(few, slow) > 25


def test_failures_are_as_alike_as_failures_are_and_not_as_latencies():
    """Whatever latencies remember, failures at random count one by one, and such that come fifty at once by fifties."""
    rng = np.random.default_rng(5)
    alike = 0.1 + 0.01 * lfilter([1.0], [1.0, -0.95], rng.standard_normal(20_000))
    at_random, at_once = rng.random(20_000) < 0.01, np.repeat(rng.random(400) < 0.1, 50)
    for failed, least, most in ((at_random, 1.0, 3.0), (at_once, 25.0, 100.0)):
        seen = evidence("error_rate", 0.2, requests(np.where(failed, math.nan, alike)))
        assert (seen.above, seen.count) == (failed.sum(), 20_000) and least <= seen.effect <= most


def test_an_excursion_that_a_short_level_saw_is_one_piece_of_luck():
    """A tail that comes in stretches: what neighbours show is known before batch means have seen a second stretch."""
    stretch = np.concatenate([np.full(50, 0.01), np.full(30, 0.2), np.full(120, 0.01)])
    assert evidence("p99_ms", 100.0, requests(stretch)).effect > 5


# --- false alarms: Wald's 5 % of wrong ones, in a thousand runs


def wrong_and_right(share, odds_ratio, seed):
    """Shares of a thousand runs of independent requests that are decided wrongly and rightly, looked at each time."""
    odds = odds_ratio * share / (1 - share)
    counts, wanted = np.arange(1, 150) * 12, odds_ratio < 1
    above = np.random.default_rng(seed).binomial(12, odds / (1 + odds), (1000, counts.size)).cumsum(axis=1)
    wrong = right = 0
    for row in above:
        verdicts = (LimitEvidence(share, int(a), int(n)).kept(0.05) for a, n in zip(row, counts, strict=True))
        verdict = next((one for one in verdicts if one is not None), None)
        wrong, right = wrong + (verdict is (not wanted)), right + (verdict is wanted)
    return wrong / 1000, right / 1000


@pytest.mark.parametrize("share", [0.05, 0.01])
@pytest.mark.parametrize("odds_ratio", [1 / 2.5, 2.5])
def test_at_the_edge_of_the_zone_one_verdict_in_twenty_is_wrong_at_most(share, odds_ratio):
    """5 % as meant, and 2 standard deviations of a thousand runs; less, as a step goes beyond the bound."""
    wrong, right = wrong_and_right(share, odds_ratio, seed=0)
    assert 0.005 <= wrong <= 0.064 and right >= 0.9


def test_far_from_the_zone_hardly_any_verdict_is_wrong_and_all_come():
    for odds_ratio in (1 / 10, 10):
        wrong, right = wrong_and_right(0.01, odds_ratio, seed=1)
        assert wrong <= 0.005 and right >= 0.99


def test_a_limit_on_a_share_is_tested_by_what_it_counts(monkeypatch):
    slow = Metric("slow_share", "", "lower", "above 1 s", counted=lambda one: one.latency_s > 1)
    monkeypatch.setitem(METRICS, "slow_share", slow)
    all_slow = requests(np.full(1000, 9.0))
    assert evidence("slow_share", 0.05, all_slow).above == 1000 and kept("slow_share", 0.05, all_slow, 0.05) is False
    assert kept("slow_share", 0.05, requests(np.full(1000, 0.5)), 0.05) is True
    assert evidence("error_rate", 0.05, all_slow).above == 0


@pytest.mark.parametrize(("metric", "limit"), [("p99_ms", 1000.0), ("error_rate", 0.01)])
def test_a_request_that_was_dropped_is_slow_whatever_the_limit_and_failed(metric, limit):
    """Three of 300 were waited for no longer than the others took; others that failed are not slow."""
    failed = np.isin(np.arange(300), [50, 150, 250])
    answered = requests(np.where(failed, math.nan, 0.05), np.arange(300) + 0.05)
    dropped = replace(answered, due_s=answered.last_s - 0.05, first_s=answered.last_s - 0.01, parts=1.0 - failed)
    seen = evidence(metric, limit, dropped)
    assert seen.above == 3 and seen.count == 300
    if metric == "p99_ms":
        assert evidence(metric, 1000.0, answered).above == 0 and evidence(metric, 1000.0, answered).count == 297
        assert np.isnan(answered.latency_s[50]) and dropped.latency_s[50] == pytest.approx(0.05)
