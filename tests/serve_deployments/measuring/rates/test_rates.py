"""The searches find boundaries that are known beforehand, in few levels."""

import math
import statistics
from typing import Any

import numpy as np
import pytest

from serve_deployments.fakes.virtual_replicas import FakeServer, VirtualClock, run_virtual
from serve_deployments.load import arrivals
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.measuring.rates.highest_rate import highest_rate
from serve_deployments.measuring.rates.peak_rate import peak_rate
from serve_deployments.settings import Settings

CONSTANT = LoadPlan(arrivals=arrivals.CONSTANT, total_max_s=600)


class Silent(FakeServer):
    """It does not say what its batches take, so that rates are tried that it cannot do."""

    async def usage(self):
        return None


def peak(server, plan=CONSTANT, *, to_beat_rps=None, **clock):
    return run_virtual(peak_rate(server, ["x"], plan, clock=VirtualClock(**clock), to_beat_rps=to_beat_rps))


def highest(server, at_most, plan=CONSTANT, *, to_beat_rps=None, **clock):
    settings = Settings(max_batch_size=server.max_batch, batch_wait_ms=1e3 * server.wait_s)
    test = highest_rate(server, ["x"], plan, at_most, settings, clock=VirtualClock(**clock), to_beat_rps=to_beat_rps)
    return run_virtual(test)


@pytest.mark.parametrize(("cores", "max_batch"), [(1, 1), (2, 1), (1, 16), (3, 8)])
def test_peak_of_a_batching_server_is_full_batches_back_to_back(cores, max_batch):
    server = FakeServer(lambda size: 0.02 + 0.005 * size, max_batch=max_batch, wait_s=0.01, cores=cores)
    found = peak(server)
    assert found.best and found.metrics["rps"] == pytest.approx(
        cores * max_batch / (0.02 + 0.005 * max_batch), rel=0.02
    )
    # Twice as many clients would only wait twice as long.
    assert found.best.concurrency <= 2 * cores * max_batch
    assert server.in_flight == 0


@pytest.mark.parametrize("service_s", [0.09, 0.9, 9.0])
def test_a_slow_service_is_measured_in_a_time_that_follows_what_its_requests_take(service_s):
    """By the defaults of service.yaml: sixteen requests one after another are 144 s, where each takes nine."""
    plan, total_s = LoadPlan(stretch=10.0), max(60.0, 16 * service_s)
    found = peak(FakeServer(lambda size: service_s), plan)
    assert found.best is not None and found.metrics["rps"] == pytest.approx(1 / service_s, rel=1e-3)
    assert found.interval_rps is not None and found.best.completed >= 6 and found.seconds < 1.2 * total_s
    assert ("a request takes 9 s, so the load test took" in found.reason) == (service_s == 9.0)
    # An M/D/1 queue keeps 3.33 services at its p99 up to 0.37 of its capacity (simulated with 200,000 requests).
    limited = highest(FakeServer(lambda size: service_s), {"p99_ms": 3330 * service_s}, plan)
    low_rps, high_rps = limited.interval_rps or (0.0, 0.0)
    assert limited.found and low_rps < 0.368 / service_s < high_rps < 4 * low_rps
    assert limited.seconds < 1.6 * total_s


def test_a_batch_longer_than_any_level_is_measured_and_none_that_takes_all_the_time_says_what_to_raise():
    plan = LoadPlan(level_max_s=10.0, total_max_s=60.0, max_concurrency=1)
    found = peak(FakeServer(lambda size: 25.0), plan)
    assert found.best is not None and found.metrics["rps"] == pytest.approx(0.04)
    assert "set load.total_max_s to 400 or more for a surer rate" in found.reason
    for never in (
        peak(FakeServer(lambda size: 100.0), plan),
        highest(FakeServer(lambda size: 100.0), {"p99_ms": 1e6}, plan),
    ):
        assert never.best is None and "no request was answered within 60 s; if one takes longer, raise" in never.reason


def test_peak_starts_anywhere_and_then_needs_three_levels():
    server = FakeServer(lambda size: 0.02 + 0.005 * size, max_batch=32)
    found = peak(server, LoadPlan(start_concurrency=64))
    assert [load.concurrency for load in found.levels] == [64, 128, 256]
    assert found.best.concurrency == 64 and found.metrics["rps"] == pytest.approx(32 / 0.18, rel=0.02)
    assert found.seconds < 14


def test_peak_says_where_it_stopped():
    endless = FakeServer(lambda size: 0.05, cores=10_000)
    assert "reached the maximum of 8 clients" in peak(endless, LoadPlan(max_concurrency=8)).reason
    short = peak(FakeServer(lambda size: 0.05, cores=10_000), LoadPlan(total_max_s=7))
    assert "out of time" in short.reason and short.seconds < 8
    assert "no longer grew" in peak(FakeServer(lambda size: 0.05)).reason
    refused = peak(FakeServer(lambda size: 0.05, max_queue=0))
    assert refused.best is None and "no request was answered" in refused.reason
    assert refused.metrics == {"rps": 0.0, "error_rate": 1.0}


def test_a_limit_that_only_full_batches_keep_is_no_reason_to_give_up():
    """A batch of 10 waits half a second to be full: one client alone is slow, a high rate is not."""
    server = FakeServer(lambda size: 0.01, max_batch=10, wait_s=0.5)
    found = highest(server, {"max_ms": 100})
    assert found.levels[0].value("max_ms") > 500
    assert 1000 / 1.15 <= found.metrics["rps"] <= 1050
    # Constant arrivals: the first of a batch waits 9 gaps and one service. Above capacity a level may end before that.
    assert 1e3 * (9 / found.best.requested_rps + 0.01) - 1 <= found.best.value("max_ms") <= 100


@pytest.mark.parametrize(
    "at_most", [{"p99_ms": 100.0}, {"mean_ms": 45.0}, {"error_rate": 0.0}, {"p50_ms": 60, "max_ms": 90}]
)
def test_highest_rate_of_a_queue_without_randomness_is_its_capacity(at_most):
    """D/D/1: below capacity each request takes one service, above it the queue never ends."""
    found = highest(FakeServer(lambda size: 0.04), at_most)
    assert found.found and 25 / 1.15 <= found.metrics["rps"] <= 25.5
    assert all(found.metrics[name] <= limit for name, limit in at_most.items())
    assert len(found.levels) <= 9


@pytest.mark.parametrize("limit", [1.5, 2.0, 4.0])
def test_highest_rate_of_random_arrivals_is_where_the_mean_wait_says(limit):
    """M/D/1: mean latency of k services at utilisation 2 (k - 1) / (2 k - 1)."""
    service_s = 0.005
    boundary_rps = 2 * (limit - 1) / (2 * limit - 1) / service_s
    ratios = []
    for seed in range(5):
        plan = LoadPlan(precision=0.04, level_max_s=300, total_max_s=1e5, rate_precision=0.04, seed=seed)
        found = highest(FakeServer(lambda size: service_s), {"mean_ms": limit * service_s * 1e3}, plan)
        ratios.append(found.metrics["rps"] / boundary_rps)
    assert statistics.median(ratios) == pytest.approx(1.0, abs=0.05) and max(abs(ratio - 1) for ratio in ratios) < 0.15


def test_highest_rate_keeps_below_the_rate_at_which_requests_fail():
    """A bounded queue refuses what is beyond capacity: 10 % errors at 1.11 times the capacity."""
    server = FakeServer(lambda size: 0.02, max_queue=3)
    found = highest(server, {"error_rate": 0.1})
    assert found.best.requested_rps == pytest.approx(50 / 0.9, rel=0.1)
    assert 0 < found.metrics["error_rate"] <= 0.1 and found.metrics["rps"] == pytest.approx(50, rel=0.02)


def test_levels_that_cannot_pass_are_cut_short():
    found = highest(Silent(lambda size: 0.04), {"p99_ms": 100.0})
    failed = [load for load in found.levels if load.mode == "open" and not load.value("p99_ms") <= 100]
    assert failed and all(load.ended_at - load.started_at < 15 for load in failed)  # of 20 s


def test_a_trial_of_default_length_is_sure_long_before_its_time_is_up_and_takes_no_longer_than_it_may():
    server: dict[str, Any] = dict(service_s=lambda size: 0.02 + 0.005 * size, max_batch=16, wait_s=0.01)
    found = [highest(FakeServer(**server), {"p99_ms": 150}, LoadPlan(seed=seed)) for seed in range(5)]
    rates_rps = [one.metrics["rps"] for one in found]
    assert statistics.median(one.seconds for one in found) < 40 and max(rates_rps) < 1.1 * min(rates_rps)
    quick = highest(FakeServer(**server), {"p99_ms": 150}, LoadPlan(level_min_s=0.5, total_max_s=15))
    assert quick.found and quick.seconds < 16


def test_a_level_that_ends_within_a_burst_claims_no_rate_that_only_the_burst_had():
    """Batches of 64 take two seconds: the probe's last level ends with one of them."""
    server = FakeServer(lambda size: 1 + size / 64, max_batch=64)
    found = highest(server, {"p99_ms": 6000}, LoadPlan())
    assert all(load.achieved_rps < 1.1 * server.peak_rps for load in found.levels)
    assert found.found and 0.6 * server.peak_rps < found.metrics["rps"] < server.peak_rps


def test_a_limit_that_one_request_breaks_is_reported_with_how_far_off_it_is():
    found = highest(FakeServer(lambda size: 0.12), {"p99_ms": 100.0})
    assert found.best is None and "even a single client breaks a limit" in found.reason and "120" in found.reason
    assert found.metrics["p99_ms"] == pytest.approx(120, rel=1e-2)
    assert all(load.mode == "closed" for load in found.levels)


def test_a_limit_that_every_rate_breaks_reports_the_lowest_rate():
    """Poisson arrivals meet now and then at any rate, and then a latency is above one service."""
    found = highest(FakeServer(lambda size: 0.05), {"max_ms": 50.1}, LoadPlan(total_max_s=1e4, level_max_s=1000))
    rates = [load.requested_rps for load in found.levels if load.mode == "open"]
    assert found.best is None and found.levels[found.reported].requested_rps == min(rates)
    assert min(rates) == pytest.approx(0.1 * 20) and "max_ms" in found.reason


def test_below_one_request_per_second():
    plan = LoadPlan(level_max_s=400, total_max_s=4000, drain_s=20, arrivals=arrivals.CONSTANT)
    found = highest(FakeServer(lambda size: 4.0), {"p95_ms": 5000}, plan)
    assert 0.25 / 1.15 <= found.best.requested_rps <= 0.255


def test_total_time_is_kept():
    for total_max_s in (8, 15):
        found = highest(FakeServer(lambda size: 0.05), {"p99_ms": 300}, LoadPlan(total_max_s=total_max_s))
        assert found.seconds <= total_max_s + 3


def test_a_busy_client_makes_it_a_lower_bound():
    assert peak(FakeServer(lambda size: 0.05), cpu_share=0.95).client_limited
    assert not peak(FakeServer(lambda size: 0.05), cpu_share=0.3).client_limited


def test_a_peak_that_cannot_win_is_left_early_with_its_rate_estimated():
    server: dict[str, Any] = dict(service_s=lambda size: 0.02 + 0.005 * size, max_batch=16)
    plan = LoadPlan(start_concurrency=16)
    whole = peak(FakeServer(**server), plan)
    beaten = peak(FakeServer(**server), plan, to_beat_rps=400.0)
    assert beaten.ended_early and "400" in beaten.reason
    assert beaten.seconds < 0.8 * whole.seconds and not whole.ended_early
    assert beaten.metrics["rps"] == pytest.approx(160, rel=0.05)
    # One that can win is measured as ever.
    assert peak(FakeServer(**server), plan, to_beat_rps=100.0) == whole


def test_no_search_is_given_up_while_its_senders_are_the_bottleneck():
    """What they measured is a lower bound, and says nothing of what the replica cannot do."""
    server: dict[str, Any] = dict(service_s=lambda size: 0.02 + 0.005 * size, max_batch=16)
    busy = peak(FakeServer(**server), LoadPlan(start_concurrency=16), to_beat_rps=400.0, cpu_share=0.95)
    assert busy.client_limited and not busy.ended_early
    busy = highest(FakeServer(lambda size: 0.005), {"p99_ms": 30.0}, LoadPlan(), to_beat_rps=180.0, cpu_share=0.95)
    assert busy.client_limited and not busy.ended_early


def test_a_rate_that_is_only_a_lower_bound_is_not_measured_for_all_of_the_time():
    """A longer search would locate what replica and senders can do together, which is not what was asked."""
    noise = np.random.default_rng(3)

    def found(cpu_share: float):
        server = FakeServer(lambda size: 0.05 * float(noise.gamma(4, 1 / 4)), max_batch=4)
        return highest(server, {"p99_ms": 400.0}, LoadPlan(rate_precision=0.02), cpu_share=cpu_share)

    alone, busy = found(0.3), found(0.95)
    assert alone.reason.startswith("out of time") and alone.seconds > 50 and not alone.client_limited
    assert busy.reason.startswith("the load generator was a bottleneck") and busy.client_limited
    assert busy.seconds <= 15 + LoadPlan().level_max_s + 1
    low, high = busy.interval_rps
    assert low <= busy.metrics["rps"] <= high and not busy.ended_early


def test_a_highest_rate_that_cannot_win_is_left_once_that_is_known():
    at_most, plan = {"p99_ms": 30.0}, LoadPlan()
    whole = highest(FakeServer(lambda size: 0.005), at_most, plan)
    beaten = highest(FakeServer(lambda size: 0.005), at_most, plan, to_beat_rps=180.0)
    assert beaten.ended_early and beaten.found and "180" in beaten.reason
    assert beaten.seconds < 0.8 * whole.seconds
    assert beaten.metrics["rps"] < 180 and beaten.rate_high_rps <= 180
    # Where the rate probably is, not where a level happened to be held.
    assert beaten.metrics["rps"] == pytest.approx(whole.metrics["rps"], rel=0.2)


def test_same_seed_same_measurement():
    plan = LoadPlan(seed=3)
    first, again = (highest(FakeServer(lambda size: 0.02), {"p99_ms": 100}, plan) for _ in range(2))
    assert first == again


@pytest.mark.parametrize("at_most", [{}, {"rps": 3}, {"p100_ms": 3}, {"p99_ms": -1}, {"p99_ms": math.nan}])
def test_limits_that_make_no_sense_are_refused(at_most):
    with pytest.raises(ValueError):
        highest(FakeServer(lambda size: 0.1), at_most)
