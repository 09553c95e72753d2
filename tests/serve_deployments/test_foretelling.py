"""Where a simulated queue breaks a limit, against queues whose answer is known."""

import math
from dataclasses import replace

import numpy as np
import pytest

from serve_deployments.load.arrivals import POISSON
from serve_deployments.measuring.foretelling import foretold
from serve_deployments.measuring.level import Clients
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.replicas.fakes import FakeServer, VirtualClock, run_virtual
from serve_deployments.settings import Settings

SERVICE_S = 0.01


def loads(service_s, seconds=20.0):
    """Of one client alone, as a trial begins."""

    async def held():
        plan = LoadPlan(level_min_s=seconds, level_max_s=2 * seconds)
        async with Clients(FakeServer(service_s), ["x"], plan, VirtualClock()) as clients:
            return [await clients.hold(1, plan)]

    return run_virtual(held())


def exponential(seed=0):
    rng = np.random.default_rng(seed)
    return lambda size: float(rng.exponential(SERVICE_S))


@pytest.mark.parametrize("rate_rps", [40.0, 70.0])
@pytest.mark.parametrize("near_rps", [10.0, 60.0, 300.0])
def test_a_queue_without_memory_is_broken_where_its_tail_says(rate_rps, near_rps):
    """M/M/1: above t is a share exp(-(C - r) t); its logarithm rises by log(100) r / (C - r) for r times e."""
    limit_s = math.log(100) / (1 / SERVICE_S - rate_rps)
    [guess] = foretold(loads(exponential()), Settings(), POISSON, {"p99_ms": 1e3 * limit_s}, near_rps)
    assert guess.rate_rps == pytest.approx(rate_rps, rel=0.15)  # 1,000 batches; and the further ones are not known
    assert 1 / 2 < guess.steepness / (rate_rps / (1 / SERVICE_S - rate_rps)) < 2
    assert abs(math.log(guess.rate_rps / rate_rps)) < 2 * guess.spread


def test_a_limit_on_the_mean_is_broken_where_pollaczek_and_khinchine_say():
    """M/D/1 at a load of 0.8: two services of waiting."""
    [guess] = foretold(loads(lambda size: SERVICE_S), Settings(), POISSON, {"mean_ms": 3e3 * SERVICE_S}, 50.0)
    assert guess.rate_rps == pytest.approx(0.8 / SERVICE_S, rel=0.02)


def test_it_is_the_surer_the_more_batches_it_knows():
    asked = (Settings(), POISSON, {"p99_ms": 80.0}, 50.0)
    [few], [many] = (foretold(loads(exponential(), seconds), *asked) for seconds in (0.5, 8.0))
    assert few.spread > 1.3 * many.spread


def test_of_what_no_queue_knows_nothing_is_foretold():
    seen = loads(lambda size: SERVICE_S)
    limits = {"error_rate": 0.01, "p50_ms": 5.0, "p99_ms": 50.0}
    guesses = foretold(seen, Settings(), POISSON, limits, 50.0)
    assert guesses[:2] == [None, None] and guesses[2] is not None
    silent = [replace(load, usage=None) for load in seen]
    assert foretold(silent, Settings(), POISSON, limits, 50.0) == [None] * 3


def test_a_guess_is_as_unsure_as_all_that_it_rests_on():
    """M/D/1, mean of 2 services: the wait is r / (2 (1 - r)), so r = 2/3, and batches are known exactly.

    The mean rises by 1.125 for a rate e times as high, at r: r dw/dr / w = r / (2 (1 - r)^2) / 2 services = 1.5. So a
    tenth more of latency is 0.1 / 1.5 of rate; and a replica that is 5 % slower has 5 % less, and a limit that is so
    much tighter in its own time.
    """
    [guess] = foretold(loads(lambda size: SERVICE_S), Settings(), POISSON, {"mean_ms": 2e3 * SERVICE_S}, 50.0)
    assert guess.rate_rps == pytest.approx(2 / 3 / SERVICE_S, rel=0.04)
    assert guess.steepness == pytest.approx(1.5, rel=0.2)
    assert guess.spread == pytest.approx(math.hypot(0.1 / 1.5, 0.05 / 1.5 + 0.05), rel=0.12)


def test_a_limit_that_is_broken_nowhere_near_says_nothing():
    seen = loads(lambda size: SERVICE_S, 5.0)
    [far] = foretold(seen, Settings(), POISSON, {"mean_ms": 2e3 * SERVICE_S}, 1e-4)
    assert far is None
    for near_rps in (20.0, 200.0):  # one step away
        [found] = foretold(seen, Settings(), POISSON, {"mean_ms": 2e3 * SERVICE_S}, near_rps)
        assert found.rate_rps == pytest.approx(2 / 3 / SERVICE_S, rel=0.04)


def test_a_limit_shorter_than_the_way_is_kept_by_no_queue():
    [load] = loads(lambda size: SERVICE_S, 5.0)
    far = replace(load, latencies=replace(load.latencies, mean_ms=1e3 * SERVICE_S + 40.0))
    assert foretold([far], Settings(), POISSON, {"p99_ms": 39.0, "p50_ms": 90.0}, 50.0)[0] is None
    assert foretold([far], Settings(), POISSON, {"p99_ms": 39.0, "p50_ms": 90.0}, 50.0)[1] is not None
