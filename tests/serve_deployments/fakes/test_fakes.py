"""The server and the loop that measurements are checked against, themselves checked by hand."""

import asyncio
from dataclasses import replace

import pytest

from serve_deployments.backend import Startup
from serve_deployments.fakes.fake_backend import FakeBackend
from serve_deployments.fakes.virtual_replicas import FakeServer, run_virtual
from serve_deployments.replicas.warm.pool import Pool
from serve_deployments.resources.usage import RECENT, BatchTime
from serve_deployments.settings import Settings


def answered(server, arrivals_s, cancelled=()):
    """When each request of these arrivals was answered; what it failed with instead."""

    async def main():
        loop = asyncio.get_running_loop()

        async def one(at_s):
            await asyncio.sleep(at_s)
            try:
                await server.infer(at_s)
            except ConnectionError as error:
                return str(error)
            return round(loop.time(), 6)

        tasks = [asyncio.create_task(one(at_s)) for at_s in arrivals_s]
        for number, at_s in cancelled:
            loop.call_later(at_s, tasks[number].cancel)
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        return [None if isinstance(a, asyncio.CancelledError) else a for a in answers], await server.usage()

    return run_virtual(main())


def test_one_core_serves_one_after_the_other():
    assert answered(FakeServer(lambda batch: 1.0), [0, 0.5, 3])[0] == [1.0, 2.0, 4.0]


def test_two_cores_serve_two_at_once():
    assert answered(FakeServer(lambda batch: 1.0, cores=2), [0, 0, 0])[0] == [1.0, 1.0, 2.0]


def test_a_batch_begins_when_it_is_full_or_its_oldest_has_waited():
    server = FakeServer(lambda batch: 1.0 + batch, max_batch=3, wait_s=0.5)
    # Two wait for a third until 0.5 s; the four that came meanwhile are three, and one that has waited long enough.
    times_s, usage = answered(server, [0, 0.2, 1, 1.1, 1.2, 1.3])
    assert times_s == [3.5, 3.5, 7.5, 7.5, 7.5, 9.5]
    assert usage.batches == {2: 1, 3: 1, 1: 1} and usage.busy_s == pytest.approx(9.0)
    assert usage.recent == (BatchTime(2, 3.0), BatchTime(3, 4.0), BatchTime(1, 2.0)) and usage.seconds == pytest.approx(
        9.5
    )
    assert answered(FakeServer(lambda batch: 1.0, max_batch=2, wait_s=0.5), [0, 0.1])[0] == [1.1, 1.1]


def test_what_would_wait_behind_a_full_queue_fails_at_once():
    server = FakeServer(lambda batch: 1.0, max_queue=1)
    assert answered(server, [0, 0.1, 0.2])[0] == [1.0, 2.0, "queue full"]
    assert server.arrived_s == [0, 0.1, 0.2] and server.most_in_flight == 2 and server.in_flight == 0


def test_requests_fail_as_arranged_when_they_are_served():
    server = FakeServer(lambda batch: 1.0, max_batch=2, fails=lambda number: number == 1)
    assert answered(server, [0, 0, 0.5])[0] == [1.0, "request 1 fails, as arranged", 2.0]
    assert answered(server, [0])[0] == [1.0]


def test_nothing_begins_while_it_stalls_and_what_runs_goes_on():
    server = FakeServer(lambda batch: 1.0, stalls=((0.5, 2.0), (10.0, 1.0)))
    assert answered(server, [0, 0.6, 2.4, 10.0])[0] == [1.0, 3.5, 4.5, 12.0]


def test_who_gave_up_is_not_served():
    server = FakeServer(lambda batch: 1.0)
    times_s, usage = answered(server, [0, 0.1, 0.2], cancelled=[(1, 0.5)])
    assert times_s == [1.0, None, 2.0] and usage.batches == {1: 2} and server.in_flight == 0
    # One that is being served cannot be taken out any more.
    times_s, usage = answered(FakeServer(lambda batch: 1.0), [0, 0.1], cancelled=[(0, 0.5)])
    assert times_s == [None, 2.0] and usage.batches == {1: 2}


@pytest.mark.parametrize(
    ("cores", "max_batch", "peak_rps"), [(1, 1, 50.0), (3, 1, 150.0), (1, 4, 100.0), (2, 8, 200.0)]
)
def test_its_peak_is_that_of_the_best_batch_on_all_cores(cores, max_batch, peak_rps):
    """A batch of n takes 20, 25, 30, 40 ms: four are best; of eight it takes twice as long as of four."""
    service_s = {1: 0.02, 2: 0.025, 3: 0.03, 4: 0.04}
    server = FakeServer(lambda batch: service_s.get(batch, 0.01 * batch), cores=cores, max_batch=max_batch)
    assert server.peak_rps == pytest.approx(peak_rps)


def test_a_fake_pool_hands_a_replica_on_under_what_it_ran_under_last():
    pool = Pool()
    backend = FakeBackend(lambda settings, batch: 0.01, pool=pool, new_s=15.0, change_s=0.1)
    one = Settings(emulated=True)
    for number, settings in enumerate((one, replace(one, max_batch_size=8), replace(one, max_batch_size=4))):
        with backend.running(settings, f"trial-{number}") as replica:
            assert replica.startup == (Startup(True, {"change": 0.1}) if number else Startup(False, {"deploy": 15.0}))
            assert list(pool.held()) == ["trial-0"] and backend.alive == 1
        assert [kept.settings for kept in pool.idle()] == [settings]
    assert not pool.held() and backend.alive == 0


def test_two_fake_models_in_one_pool_have_replicas_of_their_own():
    pool = Pool()
    one, other = (FakeBackend(lambda settings, batch: 0.01, pool=pool, model=model) for model in ("one", "other"))
    settings = Settings(emulated=True)
    for backend, name, in_place in ((one, "a", False), (other, "b", False), (one, "c", True), (other, "d", True)):
        with backend.running(settings, name) as replica:
            assert replica.startup.in_place == in_place
    assert [(kept.app, kept.model) for kept in pool.idle()] == [("a", "one"), ("b", "other")]


def test_usage_tells_the_last_batches_one_by_one():
    _, usage = answered(FakeServer(lambda batch: 0.001), [0.01 * number for number in range(RECENT + 5)])
    assert len(usage.recent) == RECENT and usage.batches == {1: RECENT + 5}


def test_virtual_hours_pass_at_once_and_a_wait_for_nothing_is_an_error():
    async def hours():
        await asyncio.sleep(7200)
        return asyncio.get_running_loop().time()

    async def nothing():
        await asyncio.get_running_loop().create_future()

    assert run_virtual(hours()) == 7200
    with pytest.raises(RuntimeError, match="virtual time cannot advance"):
        run_virtual(nothing())
