"""One level of load against servers whose rate and latency follow from queueing theory, in virtual time."""

import asyncio
from typing import Any

import numpy as np
import pytest

from serve_deployments.fakes.virtual_replicas import FakeServer, VirtualClock, run_virtual
from serve_deployments.load.arrivals import CONSTANT, Renewal
from serve_deployments.measuring.level import Clients, closed_level, open_level
from serve_deployments.measuring.plan import LoadPlan

PLAN = LoadPlan(arrivals=CONSTANT)


def closed(server, concurrency, plan=PLAN, **clock):
    return run_virtual(closed_level(server, ["x"], concurrency, plan, clock=VirtualClock(**clock)))


def opened(server, rate_rps, plan=PLAN, max_in_flight=None, **clock):
    level = open_level(server, ["x"], rate_rps, plan, clock=VirtualClock(**clock), max_in_flight=max_in_flight)
    return run_virtual(level)


@pytest.mark.parametrize("concurrency", [1, 3, 8, 20])
def test_closed_loop_keeps_littles_law(concurrency):
    load = closed(FakeServer(lambda batch: 0.05, cores=8), concurrency)
    assert load.steady and not load.errors
    assert load.achieved_rps == pytest.approx(min(concurrency, 8) / 0.05, rel=0.02)
    assert load.achieved_rps * load.value("mean_ms") / 1e3 == pytest.approx(concurrency, rel=0.02)


@pytest.mark.parametrize(("concurrency", "batch"), [(1, 1), (4, 4), (16, 16), (48, 16)])
def test_batching_server_answers_a_batch_per_service(concurrency, batch):
    server = FakeServer(lambda size: 0.02 + 0.005 * size, max_batch=16, wait_s=0.01)
    waits_s = 0.01 if concurrency < 16 else 0.0
    load = closed(server, concurrency)
    assert load.steady
    assert load.achieved_rps == pytest.approx(batch / (0.02 + 0.005 * batch + waits_s), rel=0.02)


def test_bursts_of_a_large_batch_do_not_look_unsteady():
    load = closed(FakeServer(lambda size: 0.7, max_batch=32, wait_s=0.05), 32)
    # One burst of warm-up, as few as an interval is made of, and the one after that shows the pause.
    assert load.steady and load.ended_at - load.started_at < 0.7 * 9
    assert load.achieved_rps == pytest.approx(32 / 0.7, rel=1e-3)


def test_open_loop_below_capacity_sees_the_service_time_alone():
    load = opened(FakeServer(lambda batch: 0.04), 20)  # D/D/1
    assert load.steady and not load.overloaded
    assert load.value("max_ms") == pytest.approx(40, abs=0.01)
    assert load.achieved_rps == pytest.approx(20, rel=0.02)


def test_open_loop_above_capacity_is_overloaded_and_stopped():
    load = opened(FakeServer(lambda batch: 0.1), 20)  # twice what it can
    assert load.overloaded and not load.steady
    assert load.achieved_rps == pytest.approx(10, rel=0.05)
    assert load.ended_at < 12  # well before level_max_s
    # D/D/1 at twice its capacity: the request due at t is answered at 2 t.
    assert load.value("max_ms") > 1000


def test_too_many_in_flight_end_a_level_at_once():
    server = FakeServer(lambda batch: 3600.0)
    load = opened(server, 100, max_in_flight=30)
    assert load.overloaded and load.completed == 0 and server.most_in_flight == 30
    assert load.ended_at == pytest.approx(0.3, abs=0.05)
    # Nothing was answered: their age is a lower bound of their latency, and it is not hidden.
    assert load.value("p50_ms") > 2000 and load.error_rate == 1


@pytest.mark.parametrize("utilisation", [0.5, 0.75])
def test_poisson_arrivals_wait_as_pollaczek_and_khinchine_say(utilisation):
    """M/D/1: mean wait = utilisation / (2 (1 - utilisation)) services."""
    service_s = 0.01
    plan = LoadPlan(level_min_s=200, level_max_s=1500, seed=5)
    load = opened(FakeServer(lambda batch: service_s), utilisation / service_s, plan)
    wait = utilisation / (2 * (1 - utilisation)) * service_s
    assert load.completed > 9_000
    # Over seeds the ratio of the two has mean 1.005 and standard deviation 0.018.
    assert load.value("mean_ms") / 1e3 == pytest.approx(service_s + wait, rel=0.05)


def test_bursts_wait_longer_but_no_longer_than_kingman_says():
    """GI/D/1: mean wait <= cv^2 / (2 rate (1 - utilisation)) (Kingman 1962), and Poisson arrivals wait less."""
    service_s, rate_rps, cv = 0.01, 50.0, 2.0
    plan = LoadPlan(level_min_s=300, level_max_s=3000, seed=5, arrivals=Renewal(cv))
    load = opened(FakeServer(lambda batch: service_s), rate_rps, plan)
    wait_s = load.value("mean_ms") / 1e3 - service_s
    poisson_s = 0.5 / (2 * (1 - 0.5)) * service_s
    assert 1.5 * poisson_s < wait_s < cv**2 / (2 * rate_rps * (1 - 0.5))


def test_a_stall_shows_in_the_tail_from_the_scheduled_time():
    """Coordinated omission: a closed loop sends nothing while the server stalls, so it misses the stall."""
    plan = LoadPlan(level_min_s=10, arrivals=CONSTANT)
    stalled: dict[str, Any] = dict(service_s=lambda batch: 0.005, stalls=((4.0, 1.0),), stalled_by_others=False)
    client = closed(FakeServer(**stalled), 1, plan)
    schedule = opened(FakeServer(**stalled), 100, plan)
    assert client.value("p99_ms") == pytest.approx(5, abs=0.1)  # one request of 1,800
    assert client.value("max_ms") == pytest.approx(1005, rel=0.01)
    # 100 requests were due during the stall and 100 more before the queue was gone; over these 200 the latency
    # falls evenly from 1 s.
    for name, share in (("p99_ms", 0.01), ("p95_ms", 0.05)):
        expected_ms = 1e3 * (1 - share * schedule.completed / 200)
        assert schedule.value(name) == pytest.approx(expected_ms, rel=0.02)


def test_slow_answers_do_not_hold_back_sends():
    server = FakeServer(lambda batch: 2.0, cores=1000)
    load = opened(server, 50)
    np.testing.assert_allclose(np.diff(server.arrived_s), 1 / 50, atol=1e-9)
    assert load.value("p99_ms") == pytest.approx(2000, rel=1e-3) and not load.overloaded


def test_a_late_sender_is_measured_from_the_schedule_and_flagged():
    load = opened(FakeServer(lambda batch: 0.02), 10, late_s=0.03)
    assert load.value("p50_ms") == pytest.approx(50, abs=0.1)
    assert load.client_lag_ms == pytest.approx(30, abs=0.1)
    assert load.client_limited
    assert not opened(FakeServer(lambda batch: 0.2, cores=9), 10, late_s=0.001).client_limited


def test_a_busy_client_is_flagged():
    for share, limited in ((0.5, False), (0.9, True)):
        load = closed(FakeServer(lambda batch: 0.05), 2, cpu_share=share)
        assert load.client_cpu_share == pytest.approx(share) and load.client_limited is limited


def test_failures_count_as_errors_and_nowhere_else():
    server = FakeServer(lambda batch: 0.05, cores=4, fails=lambda number: number % 4 == 3)
    load = opened(server, 40)
    assert load.error_rate == pytest.approx(0.25, abs=0.01)
    assert load.achieved_rps == pytest.approx(30, rel=0.03)
    assert load.value("max_ms") == pytest.approx(50, abs=0.1) and load.steady


def test_a_server_that_refuses_everything_is_no_busy_loop():
    server = FakeServer(lambda batch: 1.0, max_queue=0)
    load = closed(server, 4)
    assert load.error_rate == 1 and load.completed == 0 and load.value("p50_ms") is None
    assert len(server.arrived_s) < 4 * 30 * load.ended_at


def test_a_request_cancelled_by_its_server_is_an_error_not_the_end():
    class Cancels:
        async def infer(self, payload):
            await asyncio.sleep(0.01)
            raise asyncio.CancelledError

        async def usage(self):
            return None

    load = closed(Cancels(), 2)
    assert load.error_rate == 1 and load.errors >= 60


def test_below_one_request_per_second():
    plan = LoadPlan(level_max_s=600, arrivals=CONSTANT)
    slow = FakeServer(lambda batch: 8.0)
    load = closed(slow, 1, plan)
    assert load.steady and load.achieved_rps == pytest.approx(0.125) and load.completed < 12
    load = opened(FakeServer(lambda batch: 8.0), 0.1, plan)
    assert load.steady and load.achieved_rps == pytest.approx(0.1, rel=0.01)


def test_a_drifting_server_is_measured_but_not_called_steady():
    started = []

    def slower_and_slower(batch):
        started.append(1)
        return 0.01 * 1.01 ** len(started)

    load = closed(FakeServer(slower_and_slower), 1, LoadPlan(level_max_s=8))
    assert not load.steady and load.completed >= 30
    assert load.ended_at == pytest.approx(8, abs=1)


def test_warm_up_is_not_measured():
    served = []

    def slow_at_first(batch):
        served.append(1)
        return 0.5 if len(served) <= 5 else 0.02

    load = closed(FakeServer(slow_at_first), 1)
    assert load.steady and load.value("max_ms") == pytest.approx(20, abs=0.1) and load.warmup_s >= 2.5


def test_a_server_that_never_answers_ends_in_time():
    load = closed(FakeServer(lambda batch: 1e6), 3, LoadPlan(level_max_s=5))
    assert load.completed == 0 and load.error_rate == 1 and not load.steady
    assert load.value("p50_ms") == pytest.approx(5000, rel=0.01)


def test_levels_hand_over_their_clients():
    async def levels():
        server = FakeServer(lambda batch: 0.1, cores=100)
        async with Clients(server, ["a", "b", "c"], PLAN, VirtualClock()) as clients:
            rates = [(await clients.hold(n, PLAN)).achieved_rps for n in (2, 6, 3)]
        return server, rates

    server, rates = run_virtual(levels())
    assert rates == pytest.approx([20, 60, 30], rel=0.02)
    assert server.in_flight == 0 and server.payloads[:6] == ["a", "b", "c", "a", "b", "c"]


@pytest.mark.parametrize("kind", ["closed", "open"])
def test_cancelling_leaves_nothing_behind(kind):
    async def cancelled():
        server = FakeServer(lambda batch: 10.0, cores=50)
        clock = VirtualClock()
        level = closed_level(server, ["x"], 20, PLAN, clock=clock)
        if kind == "open":
            level.close()
            level = open_level(server, ["x"], 20, PLAN, clock=clock)
        test = asyncio.create_task(level)
        await asyncio.sleep(1.5)
        assert server.in_flight >= 20
        test.cancel()
        with pytest.raises(asyncio.CancelledError):
            await test
        return server.in_flight, len(asyncio.all_tasks()), clock.now()

    in_flight, tasks, now = run_virtual(cancelled())
    assert (in_flight, tasks) == (0, 1) and now == pytest.approx(1.5)


def test_same_seed_same_numbers():
    plan = LoadPlan(seed=9)
    first, again = (opened(FakeServer(lambda batch: 0.02), 30, plan) for _ in range(2))
    assert first == again
    assert opened(FakeServer(lambda batch: 0.02), 30, LoadPlan(seed=10)) != first


@pytest.mark.parametrize(
    "changes",
    [
        {"level_min_s": 0}, {"precision": 0}, {"level_max_s": 0.5}, {"rate_precision": -0.1},
        {"max_concurrency": 1, "start_concurrency": 2}, {"drain_s": -1},
    ],
)  # fmt: skip
def test_plans_that_make_no_sense_are_refused(changes):
    with pytest.raises(ValueError):
        LoadPlan(**changes)


def test_no_payload_and_no_client_are_refused():
    with pytest.raises(ValueError, match="payload"):
        run_virtual(closed_level(FakeServer(lambda batch: 1.0), [], 1, PLAN, clock=VirtualClock()))
    with pytest.raises(ValueError, match="one client"):
        closed(FakeServer(lambda batch: 1.0), 0)
