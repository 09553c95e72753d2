"""Where a simulated queue breaks a limit, against queues whose answer is known."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest

from serve_deployments.fakes.virtual_replicas import FakeServer, VirtualClock, run_virtual
from serve_deployments.load.arrivals import CONSTANT, POISSON, Renewal
from serve_deployments.measuring.level import Clients
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.measuring.predicting.batch_queue import BatchQueue
from serve_deployments.measuring.predicting.calibration import Arrived
from serve_deployments.measuring.predicting.rate_prediction import predicted_rates
from serve_deployments.measuring.predicting.simulated_latencies import SimulatedLatencies
from serve_deployments.metrics.distribution import Distribution
from serve_deployments.settings import Settings

SERVICE_S = 0.01


def loads(service_s, seconds=20.0, clients=(1,), max_batch=1):
    """Of one client alone, as a trial begins, and of more."""

    async def held():
        plan = LoadPlan(level_min_s=seconds, level_max_s=2 * seconds)
        async with Clients(FakeServer(service_s, max_batch=max_batch), ["x"], plan, VirtualClock()) as held:
            return [await held.hold(each, plan) for each in clients]

    return run_virtual(held())


def exponential(seed=0):
    rng = np.random.default_rng(seed)
    return lambda size: float(rng.exponential(SERVICE_S))


@pytest.mark.parametrize("rate_rps", [40.0, 70.0])
@pytest.mark.parametrize("near_rps", [10.0, 60.0, 300.0])
def test_a_queue_without_memory_is_broken_where_its_tail_says(rate_rps, near_rps):
    """M/M/1: above t is a share exp(-(C - r) t); its logarithm rises by log(100) r / (C - r) for r times e."""
    limit_s = math.log(100) / (1 / SERVICE_S - rate_rps)
    [prior] = predicted_rates(loads(exponential()), Settings(), POISSON, {"p99_ms": 1e3 * limit_s}, near_rps)
    assert prior.rate_rps == pytest.approx(rate_rps, rel=0.15)  # 1,000 batches; and the further ones are not known
    assert 1 / 2 < prior.steepness / (rate_rps / (1 / SERVICE_S - rate_rps)) < 2
    assert abs(math.log(prior.rate_rps / rate_rps)) < 2 * prior.spread


def test_a_limit_on_the_mean_is_broken_where_pollaczek_and_khinchine_say():
    """M/D/1 at a load of 0.8: two services of waiting."""
    [prior] = predicted_rates(loads(lambda size: SERVICE_S), Settings(), POISSON, {"mean_ms": 3e3 * SERVICE_S}, 50.0)
    assert prior.rate_rps == pytest.approx(0.8 / SERVICE_S, rel=0.02)


def test_it_is_the_surer_the_more_batches_it_knows():
    asked = (Settings(), POISSON, {"p99_ms": 80.0}, 50.0)
    [few], [many] = (predicted_rates(loads(exponential(), seconds), *asked) for seconds in (0.5, 8.0))
    assert few.spread > 1.3 * many.spread


def test_of_what_no_queue_knows_nothing_is_predicted():
    seen = loads(lambda size: SERVICE_S)
    limits = {"error_rate": 0.01, "p50_ms": 5.0, "p99_ms": 50.0}
    priors = predicted_rates(seen, Settings(), POISSON, limits, 50.0)
    assert priors[:2] == [None, None] and priors[2] is not None
    silent = [replace(load, usage=None) for load in seen]
    assert predicted_rates(silent, Settings(), POISSON, limits, 50.0) == [None] * 3


def test_a_prior_is_as_unsure_as_all_that_it_rests_on():
    """M/D/1, mean of 2 services: the wait is r / (2 (1 - r)), so r = 2/3, and batches are known exactly.

    The mean rises by 1.125 for a rate e times as high, at r: r dw/dr / w = r / (2 (1 - r)^2) / 2 services = 1.5. So a
    tenth more of latency is 0.1 / 1.5 of rate; and a replica that is 5 % slower has 5 % less, and a limit that is so
    much tighter in its own time.
    """
    [prior] = predicted_rates(loads(lambda size: SERVICE_S), Settings(), POISSON, {"mean_ms": 2e3 * SERVICE_S}, 50.0)
    assert prior.rate_rps == pytest.approx(2 / 3 / SERVICE_S, rel=0.04)
    assert prior.steepness == pytest.approx(1.5, rel=0.2)
    assert prior.spread == pytest.approx(math.hypot(0.1 / 1.5, 0.05 / 1.5 + 0.05), rel=0.12)


def test_a_limit_that_is_broken_nowhere_near_says_nothing():
    seen = loads(lambda size: SERVICE_S, 5.0)
    [far] = predicted_rates(seen, Settings(), POISSON, {"mean_ms": 2e3 * SERVICE_S}, 1e-4)
    assert far is None
    for near_rps in (20.0, 200.0):  # one step away
        [found] = predicted_rates(seen, Settings(), POISSON, {"mean_ms": 2e3 * SERVICE_S}, near_rps)
        assert found.rate_rps == pytest.approx(2 / 3 / SERVICE_S, rel=0.04)


def test_a_limit_shorter_than_the_way_is_kept_by_no_queue():
    [load] = loads(lambda size: SERVICE_S, 5.0)
    far = replace(load, distributions={"latency": Distribution({"mean_ms": 1e3 * SERVICE_S + 40.0})})
    assert predicted_rates([far], Settings(), POISSON, {"p99_ms": 39.0, "p50_ms": 90.0}, 50.0)[0] is None
    assert predicted_rates([far], Settings(), POISSON, {"p99_ms": 39.0, "p50_ms": 90.0}, 50.0)[1] is not None


# --- other arrivals and batches, by a plain loop


def latencies_ms(arrived_s, service_s, largest):
    """Of a server of such batches, one after the other: who waits when one ends goes into the next."""
    free_s, first, found_s = 0.0, 0, np.empty(arrived_s.size)
    while first < arrived_s.size:
        start_s, last = max(free_s, arrived_s[first]), first + 1
        while last < min(first + largest, arrived_s.size) and arrived_s[last] <= start_s:
            last += 1
        free_s = start_s + service_s(last - first)
        found_s[first:last] = free_s - arrived_s[first:last]
        first = last
    return 1e3 * found_s


KINDS = {1: lambda size: SERVICE_S, 4: lambda size: 0.02 + 0.005 * size}
"""Largest batch → what batches take; 100 requests/s at most."""
VALUES: dict[str, Callable[[Any], Any]] = {
    "p50_ms": np.median,
    "mean_ms": np.mean,
    "p99_ms": lambda found_ms: np.quantile(found_ms, 0.99),
}


def broken_from(largest, arrivals, name, limit_ms):
    seen = loads(KINDS[largest], 10.0, (1, 2, 8) if largest > 1 else (1,), largest)
    [prior] = predicted_rates(seen, Settings(max_batch_size=largest), arrivals, {name: limit_ms}, 50.0)
    return prior.rate_rps


def value_at(rate_rps, largest, arrivals, name):
    """Of other arrivals of that pattern than are simulated, without those that find a queue that has just begun."""
    arrived_s = np.fromiter(islice(arrivals.offsets(rate_rps, 1), 60_000), float)
    return VALUES[name](latencies_ms(arrived_s, KINDS[largest], largest)[2000:])


@pytest.mark.parametrize(
    ("largest", "arrivals", "name", "limit_ms"),
    [
        (1, POISSON, "mean_ms", 30.0), (4, POISSON, "p99_ms", 150.0), (4, POISSON, "mean_ms", 60.0),
        (4, POISSON, "p50_ms", 60.0), (1, Renewal(3.0), "mean_ms", 30.0), (4, Renewal(3.0), "p99_ms", 150.0),
        (1, Renewal(0.5), "p99_ms", 40.0), (4, Renewal(0.5), "p99_ms", 100.0),
    ],
)  # fmt: skip
def test_at_the_rate_that_is_predicted_a_queue_is_at_its_limit(largest, arrivals, name, limit_ms):
    rate_rps = broken_from(largest, arrivals, name, limit_ms)
    assert value_at(rate_rps, largest, arrivals, name) == pytest.approx(limit_ms, rel=0.1)


@pytest.mark.parametrize(
    ("largest", "name", "limit_ms"), [(1, "p99_ms", 80.0), (1, "mean_ms", 30.0), (4, "p50_ms", 60.0)]
)
def test_of_even_arrivals_none_waits_until_there_are_more_than_can_be_served(largest, name, limit_ms):
    """Then the queue never ends, whatever the limit."""
    rate_rps = broken_from(largest, CONSTANT, name, limit_ms)
    assert 90 < rate_rps < 101
    assert value_at(0.99 * rate_rps, largest, CONSTANT, name) < limit_ms < value_at(111.0, largest, CONSTANT, name)


def test_the_first_fifth_of_a_queues_requests_tells_nothing_as_it_begins_empty():
    """Even arrivals, 500 and 60 for each size of batch: below capacity all take one service.

    Above it request k waits for what the k before it took longer than they were apart; the first to count is 112.
    """
    queue = BatchQueue(np.array([SERVICE_S]), np.ones(1))
    log_rates, seen_s = SimulatedLatencies(queue, CONSTANT).around(2 / SERVICE_S)
    assert seen_s.shape == (9, 120 * 448) and np.exp(log_rates[4]) == pytest.approx(2 / SERVICE_S)
    for log_rate, each_s in zip(log_rates, seen_s, strict=True):
        behind_s = SERVICE_S - math.exp(-log_rate)
        assert each_s.min() == pytest.approx(SERVICE_S + 112 * behind_s)
        assert each_s.max() == pytest.approx(SERVICE_S + 559 * behind_s)
    _, quick_s = SimulatedLatencies(queue, CONSTANT).around(0.4 / SERVICE_S)
    assert quick_s == pytest.approx(SERVICE_S)


def test_levels_that_agree_with_the_queue_make_its_rate_surer_and_others_move_it():
    """M/D/1 with a limit on the mean, of two services: at two thirds of its capacity."""
    seen = loads(lambda size: SERVICE_S)

    def asked(held):
        [prior] = predicted_rates(seen, Settings(), POISSON, {"mean_ms": 2e3 * SERVICE_S}, 60.0, held)
        return prior

    due_s = np.fromiter(islice(POISSON.offsets(60.0, 3), 600), float)
    latency_s = latencies_ms(due_s, lambda size: SERVICE_S, 1) / 1e3
    alike, longer = (Arrived(60.0, due_s, factor * latency_s, np.ones(600, dtype=bool)) for factor in (1.0, 1.2))
    assert asked([alike]).rate_rps == pytest.approx(asked([]).rate_rps, rel=0.01)
    assert asked([alike]).spread < 0.6 * asked([]).spread
    # A mean that is four fifths of 20 % longer: the rate is lower by a third less than that, as 1.5 to 1 above.
    assert asked([longer]).rate_rps == pytest.approx(asked([]).rate_rps * 1.2 ** (-0.8 / 1.5), rel=0.03)


def test_the_slowest_requests_are_in_the_largest_batches():
    """Where a full batch takes little longer than a single one, a queue of requests becomes one large batch."""
    queue = BatchQueue(0.02 + 0.002 * np.arange(1, 9), np.ones(1))
    rates = SimulatedLatencies(queue, POISSON)
    slowest, every = (rates.sizes_of_slowest(100.0, tail) for tail in (0.05, 1.0))
    sizes = np.arange(1, 9)
    assert slowest.sum() == every.sum() == pytest.approx(1.0)
    assert sizes @ slowest > sizes @ every + 1
