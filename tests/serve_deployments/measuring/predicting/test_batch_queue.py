"""The queue of a replica's batches: as a server in virtual time has it, and as queueing theory does."""

import asyncio

import numpy as np
import pytest

from serve_deployments.fakes.virtual_replicas import FakeServer, VirtualClock, run_virtual
from serve_deployments.measuring.level import Clients, open_level
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.measuring.predicting.batch_queue import BatchQueue, queue_of
from serve_deployments.resources.usage import BatchTime, Usage
from serve_deployments.settings import Settings
from tests.levels import a_level

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
    queue = BatchQueue.of([BatchTime(1, 0.025), BatchTime(1, 0.025), BatchTime(8, 0.06), BatchTime(8, 0.06)], 16)
    assert queue.mean_s == pytest.approx([service_s(size) for size in range(1, 17)])
    assert queue.factors == pytest.approx([1.0] * 4) and queue.error(np.full(16, 1 / 16)) == 0.0


def test_times_that_vary_are_known_the_better_the_more_there_are():
    rng = np.random.default_rng(2)
    few, many = (BatchQueue.of([BatchTime(1, t) for t in rng.gamma(25, 1 / 25, n)], 1) for n in (40, 900))
    assert many.error(ONE) == pytest.approx(0.2 / np.sqrt(900), rel=0.5) and few.error(ONE) > 2 * many.error(ONE)
    assert BatchQueue.of([BatchTime(1, 1.0)] * 3, 1) is None


async def levels(server, *clients):
    plan = LoadPlan(level_max_s=2.0)
    async with Clients(server, ["x"], plan, VirtualClock()) as held:
        return [await held.hold(each, plan) for each in clients]


def test_a_replica_says_what_its_batches_take_and_what_an_answer_takes_beside_them():
    class Far(FakeServer):
        async def infer(self, payload):
            await asyncio.sleep(0.002)
            return await super().infer(payload)

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
            halves = tuple(BatchTime(size, seconds / 2) for size, seconds in usage.recent)
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


# --- by hand


def told(clients, seconds=2.0, busy_s=0.4, batches=10, latency_s=(0.042, 0.043, 0.065), size=1, **changes):
    """A level of so many clients, in which the replica ran that many batches, all alike; of 50 ms on average."""
    recent = (BatchTime(size, busy_s / batches),) * batches
    usage = Usage(seconds=seconds, batches={size: batches}, busy_s=busy_s, recent=recent)
    return a_level(clients=clients, latency_s=latency_s, usage=usage, **changes)


def test_what_an_answer_takes_beside_its_batch_is_seen_by_one_client_alone():
    """50 ms on average, of which the batch takes 40, and the wait for others 5."""
    alone, many = told(1), told(3, latency_s=[0.9])
    for order in ([alone, many], [many, alone]):
        assert queue_of(order, Settings(max_batch_size=4)).way_s == pytest.approx(0.01)
    waiting = queue_of([alone], Settings(max_batch_size=4, batch_wait_ms=5.0))
    assert (waiting.way_s, waiting.wait_s) == (pytest.approx(0.005), 0.005)
    assert queue_of([alone], Settings(max_batch_size=1, batch_wait_ms=5.0)).wait_s == 0.0  # nobody to wait for
    assert queue_of([told(1, latency_s=[0.03])], Settings()).way_s == 0.0
    assert queue_of([many], Settings()) is None and queue_of([told(1, batches=3)], Settings()) is None
    idle = told(1, busy_s=0.0)
    assert queue_of([idle], Settings()) is None and queue_of([idle, alone], Settings()).mean_s == pytest.approx([0.04])


def test_how_slow_batches_seem_is_seen_where_there_is_always_a_next_one():
    """Two clients for each place in a batch; busy for 2 of 3 s: all takes 1.5 times as long, and 2 times at most."""

    def slowness(*loads, largest=4):
        return queue_of([told(1), *loads], Settings(max_batch_size=largest)).mean_s[0] / 0.04

    full = dict(seconds=3.0, busy_s=2.0, batches=50)
    assert slowness(told(8, **full)) == pytest.approx(1.5)
    assert slowness(told(7, **full)) == pytest.approx(1.0)
    assert slowness(told(9, **(full | {"seconds": 9.0}))) == pytest.approx(2.0)
    assert slowness(told(9, **(full | {"seconds": 1.0}))) == pytest.approx(1.0)  # several cores are no reason
    faster = told(8, **full, achieved_rps=300.0)
    assert slowness(told(16, seconds=3.6, busy_s=2.0, batches=50, achieved_rps=200.0), faster) == pytest.approx(1.5)


def test_what_sizes_take_is_the_mean_between_them_a_line_and_beyond_them_no_less():
    seen = [BatchTime(1, 0.01), BatchTime(1, 0.03), BatchTime(3, 0.04), BatchTime(3, 0.04)]
    queue = BatchQueue.of(seen, 4, 0.25)
    assert queue.mean_s == pytest.approx([0.02, 0.03, 0.04, 0.05]) and queue.wait_s == 0.25
    # A line is fitted to four batches, so two are left to say how much they vary: their spread is wider than it seems.
    assert queue.factors == pytest.approx([0.5, 1 + 0.5 * np.sqrt(1.5), 1.0, 1.0])
    falling = BatchQueue.of([BatchTime(1, 0.04)] * 2 + [BatchTime(3, 0.02)] * 2, 5)
    assert falling.mean_s == pytest.approx([0.04, 0.03, 0.02, 0.02, 0.02])
    # What is larger than the queue's batches tells too.
    small = BatchQueue.of([BatchTime(1, 0.02)] * 2 + [BatchTime(5, 0.06)] * 2, 3)
    assert small.mean_s == pytest.approx([0.02, 0.03, 0.04]) and small.factors == pytest.approx([1.0] * 4)
    # Least squares with weights of 4, 1 and 1 for their counts: of 1, 2, 2 at 1, 2, 3 the slope is 2 / 3.5.
    bent = BatchQueue.of([BatchTime(1, 1.0)] * 4 + [BatchTime(2, 2.0), BatchTime(3, 2.0)], 5)
    assert np.diff(bent.mean_s) == pytest.approx([1.0, 0.0, 4 / 7, 4 / 7])
    alike = BatchQueue.of([BatchTime(2, 0.02)] * 4, 4)
    assert alike.mean_s == pytest.approx([0.02] * 4)


@pytest.mark.parametrize(("count", "sizes"), [(12, 8), (60, 8), (60, 1), (600, 64)])
@pytest.mark.parametrize("upper", [1, 4])  # all sizes alike, and mostly the largest ones
def test_the_stated_error_is_that_of_a_mix_of_sizes_though_most_sizes_had_a_batch_or_two(count, sizes, upper):
    """Affine times that vary by a tenth: in nine of ten the true time is within Student's t of few batches."""
    rng, off = np.random.default_rng(4), []
    mix = np.arange(1.0, sizes + 1) ** (upper - 1)
    mix /= mix.sum()
    true_s = mix @ [service_s(size) for size in range(1, sizes + 1)]
    for _ in range(100):
        drawn = rng.integers(1, sizes + 1, count)
        queue = BatchQueue.of([BatchTime(int(k), service_s(k) * rng.gamma(100, 0.01)) for k in drawn], sizes)
        off.append(abs(mix @ queue.mean_s / true_s - 1) / queue.error(mix))
        assert queue.factors.std() == pytest.approx(0.1, rel=0.75)
    assert np.quantile(off, 0.9) < (2.0 if count > 20 else 2.3) and np.quantile(off, 0.5) > 0.35


def test_a_mix_of_sizes_is_better_known_than_a_single_one():
    """Times that follow no line: each size has its own two batches, so a mix of eight has an eighth of the variance."""
    rng = np.random.default_rng(5)
    own_s = [0.02, 0.09, 0.03, 0.08, 0.04, 0.1, 0.05, 0.11]
    queue = BatchQueue.of([BatchTime(1 + i % 8, own_s[i % 8] * rng.gamma(100, 0.01)) for i in range(16)], 8)
    single = np.sqrt(np.mean([queue.error(one) ** 2 for one in np.eye(8)]))
    assert 2.0 < single / queue.error(np.full(8, 1 / 8)) < 4.5


def test_times_that_differ_by_rounding_are_known_exactly():
    queue = BatchQueue.of([BatchTime(size, service_s(size) * (1 + 1e-15 * size)) for size in range(1, 9)] * 2, 8)
    assert queue.error(np.full(8, 1 / 8)) == 0.0


def test_slow_batches_that_come_in_runs_are_known_less_well():
    rng = np.random.default_rng(6)
    runs = np.repeat(rng.gamma(25, 1 / 25, 60), 10)
    alone, in_runs = (
        BatchQueue.of([BatchTime(1, t) for t in times], 1).error(ONE) for times in (rng.permutation(runs), runs)
    )
    assert 0.8 < in_runs / (0.2 / np.sqrt(60)) < 2.0 and in_runs > 2 * alone


def test_the_same_queue_with_given_batches_takes_what_these_took_in_their_order():
    batches = [BatchTime(1, 0.05), BatchTime(2, 0.02), BatchTime(1, 0.03)]
    queue = BatchQueue(np.array([0.02, 0.04]), ONE, way_s=0.001, slowness=2.0).with_batches(batches)
    arrived_s = np.array([[0.0, 0.01, 0.02, 1.0]])  # the second and third wait for the first
    assert queue.latencies_s(arrived_s, np.zeros(1, dtype=int))[0] - 0.001 == pytest.approx([0.1, 0.13, 0.12, 0.06])


def test_few_times_are_known_by_their_spread():
    """Too few for batch means: 0.5 and 1.5 in turn have a spread of 0.5, and of four half of that is left."""
    queue = BatchQueue.of([BatchTime(1, 0.5), BatchTime(1, 1.5), BatchTime(1, 0.5), BatchTime(1, 1.5)], 1)
    assert queue.error(ONE) == pytest.approx(0.25, rel=0.2)


def test_rates_are_compared_under_the_same_arrivals_and_batches():
    units = np.cumsum(np.random.default_rng(3).exponential(1.0, (5, 40)), axis=1)
    queue = BatchQueue(np.array([0.02, 0.03]), np.array([1.0, 3.0]), 0.0, 0.001)
    found_s = queue.at_rates(units, np.array([0.001, 20.0]))
    assert found_s.shape == (2, 5, 40)
    alone_s = (found_s[0] - 0.001) / 0.02  # hours apart, each request is a batch of its own: its factor
    np.testing.assert_allclose(np.sort(alone_s[:, :2], axis=1), [[1.0, 3.0]] * 5, rtol=1e-4)
    first_factor = np.round((alone_s[:, 0] - 1) / 2).astype(int)
    assert set(first_factor) == {0, 1}
    np.testing.assert_allclose(found_s[1], queue.latencies_s(units / 20.0, first_factor), rtol=1e-6)
