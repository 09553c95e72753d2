"""The queue of a replica's batches: as a server in virtual time has it, and as queueing theory does."""

import asyncio

import numpy as np
import pytest

from serve_deployments.measuring.batch_queue import BatchQueue, queue_of
from serve_deployments.measuring.level import Clients, open_level
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.replicas.fakes import FakeServer, VirtualClock, run_virtual
from serve_deployments.settings import Settings
from serve_deployments.usage import Batch

ONE = np.ones(1)


def service_s(size):
    return 0.02 + 0.005 * size


def answered(server, arrived_s):
    """`[n]` what a server really takes, request by request."""

    async def request(due_s):
        clock = VirtualClock()
        await clock.sleep_until(due_s)
        await server.infer("x")
        return clock.now() - due_s

    async def all_of_them():
        return await asyncio.gather(*map(request, arrived_s))

    return np.array(run_virtual(all_of_them()))


@pytest.mark.parametrize("rate_rps", [5.0, 40.0, 150.0])
@pytest.mark.parametrize(("largest", "wait_s"), [(1, 0.0), (4, 0.0), (4, 0.01), (16, 0.05)])
def test_it_takes_what_a_server_of_such_batches_takes(rate_rps, largest, wait_s):
    arrived_s = np.cumsum(np.random.default_rng(7).exponential(1 / rate_rps, (2, 300)), axis=1)
    queue = BatchQueue(np.array([service_s(size) for size in range(1, largest + 1)]), ONE, wait_s, way_s=0.001)
    found_s = queue.latencies_s(arrived_s, np.zeros(2, dtype=int))
    for its_s, row_s in zip(found_s, arrived_s, strict=True):  # queues side by side know nothing of one another
        server = FakeServer(service_s, max_batch=largest, wait_s=wait_s)
        np.testing.assert_allclose(its_s, answered(server, row_s) + 0.001, atol=1e-6)


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
@pytest.mark.parametrize("cv", [0.0, 1.0])
def test_its_mean_wait_is_that_of_pollaczek_and_khinchine(load, cv):
    """M/G/1: load / (1 - load) (1 + cv^2) / 2 services."""
    rng = np.random.default_rng(1)
    factors = rng.exponential(1.0, 20_000) if cv else ONE
    queue = BatchQueue(np.array([1.0]), factors / factors.mean())
    arrived_s = np.cumsum(rng.exponential(1 / load, (200, 3000)), axis=1)
    wait_s = queue.latencies_s(arrived_s, rng.integers(factors.size, size=200))[:, 500:].mean() - 1.0
    assert wait_s == pytest.approx(load / (1 - load) * (1 + cv**2) / 2, rel=0.06)


def test_sizes_that_it_never_had_are_on_the_line_of_those_that_it_had():
    queue = BatchQueue.of([Batch(1, 0.025), Batch(1, 0.025), Batch(8, 0.06), Batch(8, 0.06)], 16)
    assert queue.mean_s == pytest.approx([service_s(size) for size in range(1, 17)])
    assert queue.factors == pytest.approx([1.0] * 4) and queue.error == pytest.approx(0.0)


def test_times_that_vary_are_known_the_better_the_more_there_are():
    rng = np.random.default_rng(2)
    few, many = (BatchQueue.of([Batch(1, t) for t in rng.gamma(25, 1 / 25, n)], 1) for n in (40, 900))
    assert many.error == pytest.approx(0.2 / np.sqrt(900), rel=0.5) and few.error > 2 * many.error
    assert BatchQueue.of([Batch(1, 1.0)] * 3, 1) is None


async def levels(server, *clients):
    plan = LoadPlan(level_max_s=2.0)
    async with Clients(server, ["x"], plan, VirtualClock()) as held:
        return [await held.hold(each, plan) for each in clients]


def test_a_replica_says_what_its_batches_take_and_what_an_answer_takes_beside_them():
    class Far(FakeServer):
        async def infer(self, payload):
            await asyncio.sleep(0.002)
            await super().infer(payload)

    settings = Settings(max_batch_size=4)
    queue = queue_of(run_virtual(levels(Far(service_s, max_batch=4), 1, 16)), settings)
    assert queue.way_s == pytest.approx(0.002, rel=0.05)
    assert queue.mean_s[[0, 3]] == pytest.approx([service_s(1), service_s(4)], rel=0.05)
    assert queue.wait_s == 0.0 and queue_of([], settings) is None


def test_a_model_that_is_not_busy_with_enough_to_do_seems_slower():
    class Pausing(FakeServer):
        """Half of each batch's time the model does not run."""

        async def usage(self):
            usage = await super().usage()
            halves = tuple(Batch(size, seconds / 2) for size, seconds in usage.recent)
            return usage.__class__(usage.seconds, usage.batches, usage.busy_s / 2, recent=halves)

    queue = queue_of(run_virtual(levels(Pausing(service_s), 1, 4)), Settings())
    assert queue.mean_s[0] == pytest.approx(service_s(1), rel=0.05)


def test_of_levels_in_which_it_told_nothing_there_is_no_queue():
    class Silent(FakeServer):
        async def usage(self):
            return None

    async def open_alone():
        return await open_level(FakeServer(service_s), ["x"], 10.0, LoadPlan(), clock=VirtualClock())

    assert queue_of(run_virtual(levels(Silent(service_s), 1, 4)), Settings()) is None
    assert queue_of([run_virtual(open_alone())], Settings()) is None  # how long the way is, one client alone shows
