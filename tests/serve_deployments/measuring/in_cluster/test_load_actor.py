"""The load actor without Ray, as the class that it is, in virtual time."""

import asyncio
from dataclasses import replace
from functools import partial

import pytest

from serve_deployments.fakes.virtual_replicas import FakeServer, VirtualClock, run_virtual
from serve_deployments.load.arrivals import Renewal
from serve_deployments.load.sending import OwnSender
from serve_deployments.measuring.in_cluster import actor as actor_module
from serve_deployments.measuring.in_cluster.actor import LoadActor
from serve_deployments.measuring.load_test import LoadTest
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.measuring.rates.highest_rate import highest_rate
from serve_deployments.settings import Settings

PLAN = LoadPlan(level_max_s=5.0, max_concurrency=8)


@pytest.fixture(autouse=True)
def virtual(monkeypatch):
    monkeypatch.setattr(actor_module, "RealClock", VirtualClock)


def server():
    return FakeServer(lambda size: 0.05)


def test_it_measures_what_it_is_aimed_at():
    async def measured():
        made = LoadActor(server, ["a"])
        first = await made.closed(1, PLAN)
        await made.set_target(lambda: FakeServer(lambda size: 0.1), ["b"])
        second, third = await made.closed(1, PLAN), await made.open(5.0, PLAN)
        return first, second, third, await made.run(LoadTest(PLAN), Settings())

    first, second, third, found = run_virtual(measured())
    assert first.achieved_rps == pytest.approx(20) and second.achieved_rps == pytest.approx(10)
    assert (first.concurrency, third.requested_rps) == (1, 5.0)
    assert found.method == "peak_rate" and found.metrics["rps"] == pytest.approx(10, rel=0.02)


def test_it_hands_on_what_is_to_be_beaten_and_the_settings():
    async def answered(**more):
        made = LoadActor(lambda: FakeServer(lambda size: 0.01 * size, max_batch=4), ["a"])
        return await made.run(LoadTest(PLAN), Settings(max_batch_size=4), **more)

    whole, beaten = run_virtual(answered()), run_virtual(answered(to_beat_rps=1e6))
    assert not whole.ended_early and beaten.ended_early and whole.levels[0].concurrency == 4


def test_its_search_is_over_when_its_time_is_up_by_the_clock_of_its_team():
    """As many cores as there are clients: only the time ends the climb."""

    async def answered():
        made = LoadActor(lambda: FakeServer(lambda size: 0.05, cores=10_000), ["a"])
        found = await made.run(LoadTest(LoadPlan(total_max_s=4.0)), Settings())
        return found, asyncio.get_running_loop().time()

    found, took_s = run_virtual(answered())
    assert found.reason.startswith("out of time after ") and 3.0 < took_s <= 5.0
    assert found.seconds == pytest.approx(took_s)


@pytest.mark.parametrize("seed", range(2))
def test_levels_of_one_search_know_nothing_of_one_another(seed):
    """The actor holds all of them with one generator, as does a search that has a new one for each."""
    plan = LoadPlan(seed=seed, total_max_s=8.0, level_min_s=0.3, arrivals=Renewal(4.0))
    at_most = {"p99_ms": 300.0}

    def silent():
        return Silent(lambda size: 0.05)

    async def by_actor():
        return await LoadActor(silent, ["x"]).run(LoadTest(plan, at_most), Settings())

    found = run_virtual(by_actor())
    alone = run_virtual(highest_rate(silent(), ["x"], plan, at_most, Settings(), clock=VirtualClock()))
    assert found == replace(alone, named=("p99_ms",))
    assert any(load.overloaded for load in found.levels[:-1])


class Silent(FakeServer):
    """It does not say what its batches take, so that rates are tried that it cannot do."""

    async def usage(self):
        return None


def test_without_payloads_it_is_refused():
    with pytest.raises(ValueError, match="at least one payload"):
        LoadActor(server, [])
    assert LoadActor()._running is None  # told later


def test_one_test_at_a_time_and_closing_ends_it():
    async def two_at_once():
        made = LoadActor(server, ["a"])
        await made.close()  # nothing runs
        running = asyncio.create_task(made.closed(2, LoadPlan(level_min_s=90, level_max_s=100)))
        await asyncio.sleep(1.0)
        with pytest.raises(RuntimeError, match="running a load test already"):
            await made.open(10.0, PLAN)
        await made.close()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert asyncio.get_running_loop().time() < 5
        return (await made.closed(1, PLAN)).completed

    assert run_virtual(two_at_once()) > 0


@pytest.mark.parametrize("called", [True, False], ids=["by a call", "by a call that was cancelled"])
def test_once_it_is_closed_the_next_test_may_begin(called):
    """With nothing in flight of the one before, whoever waits for that."""

    async def closed():
        fake = server()
        made = LoadActor(lambda: fake, ["a"])
        running = asyncio.create_task(made.closed(4, LoadPlan(level_min_s=90, level_max_s=100)))
        await asyncio.sleep(1.0)
        if not called:
            running.cancel()
        await made.close()
        in_flight, load = fake.in_flight, await made.closed(1, PLAN)
        await asyncio.gather(running, return_exceptions=True)
        return in_flight, load.achieved_rps, running.cancelled()

    assert run_virtual(closed()) == (0, pytest.approx(20), True)


def test_a_cancelled_call_leaves_no_test_behind():
    async def cancelled():
        fake = server()
        made = LoadActor(lambda: fake, ["a"])
        running = asyncio.create_task(made.closed(4, LoadPlan(level_min_s=90, level_max_s=100)))
        await asyncio.sleep(1.0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        return fake.in_flight, len(asyncio.all_tasks()), (await made.closed(1, PLAN)).completed > 0

    assert run_virtual(cancelled()) == (0, 1, True)


def test_it_stands_on_cores_that_no_replica_leases(monkeypatch):
    pinned: list[set[int]] = []
    free = {2, 3}
    monkeypatch.setattr(actor_module, "machine_cores", lambda: {0, 1, 2, 3})
    monkeypatch.setattr(actor_module, "unleased_cores", lambda cores: set(cores) & free)
    monkeypatch.setattr(actor_module, "can_pin", lambda: True)
    monkeypatch.setattr(actor_module, "pin", pinned.append)
    made = LoadActor()
    assert asyncio.run(made.pin_to_free_cores()) and pinned == [{2, 3}] and asyncio.run(made.is_apart())
    free.discard(2)  # another trial's replica leased it meanwhile
    assert not asyncio.run(made.is_apart())
    free.clear()
    assert not asyncio.run(made.pin_to_free_cores()) and pinned == [{2, 3}]  # none left: it stays where it is
    free.add(1)
    monkeypatch.setattr(actor_module, "can_pin", lambda: False)
    assert asyncio.run(made.pin_to_free_cores()) and pinned == [{2, 3}]


class Room:
    """As much of a cluster as more senders take: places, and the processes in them, which here share this one."""

    def __init__(self, monkeypatch, places):
        self.free, self.started, self.aimed_at = [Place(number, self) for number in range(places)], [], []
        monkeypatch.setattr(actor_module, "free_places", self.free_places)
        monkeypatch.setattr(actor_module, "RemoteSender", self)

    async def free_places(self):
        return list(self.free)

    async def with_target(self, sender, endpoint, payloads, index, of, cores):
        self.aimed_at.append((sender, index, of, cores))
        return OwnSender(endpoint(), payloads, actor_module.RealClock(), index, of)


class Place:
    def __init__(self, number, room):
        self.number, self.cores, self.room = number, {number}, room

    def start(self):
        self.room.started.append(self.number)
        return f"sender {self.number}"


def test_more_senders_are_twice_as_many_each_in_a_place_of_its_own(monkeypatch):
    room, made = Room(monkeypatch, 2), LoadActor()
    assert len(asyncio.run(made._more(server, ["a"], 1))) == 2
    assert room.aimed_at == [("sender 0", 0, 2, {0}), ("sender 1", 1, 2, {1})]
    assert asyncio.run(made._more(server, ["a"], 2)) == ()  # there is no place for a third one
    room.free += [Place(number, room) for number in range(2, 9)]
    assert len(asyncio.run(made._more(server, ["a"], 2))) == 4
    assert room.started == [0, 1, 2, 3]  # the first two are kept


@pytest.mark.parametrize(("places", "senders"), [(0, 1), (1, 1), (2, 2), (3, 3), (9, 9)])
def test_a_load_whose_sender_is_the_bottleneck_is_shared_while_there_is_room(monkeypatch, places, senders):
    """A sender at its limit however many they are: 1, 2, 4, … of them, each sending to its target."""
    monkeypatch.setattr(actor_module, "RealClock", partial(VirtualClock, cpu_share=0.95))
    room, served = Room(monkeypatch, places), FakeServer(lambda size: 0.05, cores=99)

    async def held():
        return await LoadActor(lambda: served, ["a", "b"]).closed(8, replace(PLAN, total_max_s=30.0))

    load = run_virtual(held())
    assert (load.senders, load.client_limited) == (senders, True)
    assert load.achieved_rps == pytest.approx(8 / 0.05, rel=0.02) and set(served.payloads) == {"a", "b"}
    assert room.started == list(range(senders if senders > 1 else 0))
