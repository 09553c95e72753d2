"""The load actor without Ray, as the class that it is, in virtual time; and where Ray is to put it."""

import asyncio
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from levels import load

from serve_deployments.measuring import actor as actor_module
from serve_deployments.measuring import load_side, measure
from serve_deployments.measuring.actor import LoadActor
from serve_deployments.measuring.load_side import let_go, load_actor
from serve_deployments.measuring.measure import WithLoadActor, _away_from
from serve_deployments.measuring.measurement import Measurement
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.measuring.question import Question
from serve_deployments.replicas.backend import LoadFailed
from serve_deployments.replicas.fakes import FakeServer, VirtualClock, run_virtual
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
        await made.aim(lambda: FakeServer(lambda size: 0.1), ["b"])
        second, third = await made.closed(1, PLAN), await made.open(5.0, PLAN)
        return first, second, third, await made.answer(Question(PLAN), Settings())

    first, second, third, found = run_virtual(measured())
    assert first.achieved_rps == pytest.approx(20) and second.achieved_rps == pytest.approx(10)
    assert (first.concurrency, third.requested_rps) == (1, 5.0)
    assert found.method == "peak_rate" and found.metrics["rps"] == pytest.approx(10, rel=0.02)


def test_it_hands_on_what_is_to_be_beaten_and_the_settings():
    async def answered(**more):
        made = LoadActor(lambda: FakeServer(lambda size: 0.01 * size, max_batch=4), ["a"])
        return await made.answer(Question(PLAN), Settings(max_batch_size=4), **more)

    whole, beaten = run_virtual(answered()), run_virtual(answered(to_beat_rps=1e6))
    assert not whole.ended_early and beaten.ended_early and whole.loads[0].concurrency == 4


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
    assert asyncio.run(made.stand_apart()) and pinned == [{2, 3}] and asyncio.run(made.is_apart())
    free.discard(2)  # another trial's replica leased it meanwhile
    assert not asyncio.run(made.is_apart())
    free.clear()
    assert not asyncio.run(made.stand_apart()) and pinned == [{2, 3}]  # none left: it stays where it is
    free.add(1)
    monkeypatch.setattr(actor_module, "can_pin", lambda: False)
    assert asyncio.run(made.stand_apart()) and pinned == [{2, 3}]


def test_more_senders_are_twice_as_many_each_in_a_place_of_its_own(monkeypatch):
    started, aimed = [], []
    places: list[Any] = []

    class Place:
        def __init__(self, number):
            self.number, self.cores = number, {number}

        def start(self):
            started.append(self.number)
            return f"sender {self.number}"

    class Remote:
        @staticmethod
        async def aimed(sender, endpoint, payloads, index, of, cores):
            aimed.append((sender, index, of, cores))
            return sender

    async def free_places():
        return list(places)

    monkeypatch.setattr(actor_module, "free_places", free_places)
    monkeypatch.setattr(actor_module, "RemoteSender", Remote)
    made = LoadActor()
    places += map(Place, range(2))
    assert asyncio.run(made._more(server, ["a"], 1)) == ["sender 0", "sender 1"]
    assert aimed == [("sender 0", 0, 2, {0}), ("sender 1", 1, 2, {1})]
    assert asyncio.run(made._more(server, ["a"], 2)) == ()  # there is no place for a third one
    places += map(Place, range(2, 9))
    assert len(asyncio.run(made._more(server, ["a"], 2))) == 4 and started == [0, 1, 2, 3]  # the first two are kept


def node(name, host, alive=True, **resources):
    return {"NodeID": name, "NodeManagerHostname": host, "Alive": alive, "Resources": resources}


def test_load_comes_from_another_machine_without_gpus_then_with_many_cores(monkeypatch):
    nodes = [node("own", "here", CPU=64)]
    context = SimpleNamespace(get_node_id=lambda: "own")
    fake = SimpleNamespace(nodes=lambda: nodes, get_runtime_context=lambda: context)
    monkeypatch.setattr(measure, "ray", fake)
    assert _away_from("here") == "own"
    nodes.append(node("dead", "there", alive=False, CPU=99))
    assert _away_from("here") == "own"
    nodes.append(node("gpu", "there", CPU=96, GPU=1))
    assert _away_from("here") == "gpu"
    nodes.append(node("small", "far", CPU=4))
    assert _away_from("here") == "small"
    nodes.append(node("large", "farther", CPU=16))
    assert {_away_from("here") for _ in range(5)} == {"large"}
    nodes.append(node("bare", "none"))
    assert _away_from("here") == "large" and _away_from("elsewhere") == "own"
    nodes.append(node("alike", "there too", CPU=16))
    assert {_away_from("here") for _ in range(64)} == {"large", "alike"}


class FakeRay:
    """As much of Ray as keeping actors takes: each has a number, and may be dead or dumb."""

    class exceptions:
        class RayActorError(Exception):
            pass

        class GetTimeoutError(Exception):
            pass

    def __init__(self):
        self.made, self.killed, self.asked, self.silent = [], [], [], {}

    def remote(self, kind):
        return self

    def options(self, **asked):
        self.asked.append(asked)
        return SimpleNamespace(remote=self._start)

    def _start(self):
        made = SimpleNamespace(number=len(self.made))
        made.__ray_ready__ = SimpleNamespace(remote=lambda: made)
        self.made.append(made)
        return made

    def get(self, made, timeout):
        assert 1 <= timeout <= 10
        if made.number in self.silent:
            raise self.silent[made.number]

    def kill(self, made):
        self.killed.append(made.number)


NODE, OTHER = 28 * "0a", 28 * "0b"  # as Ray spells them


def test_an_actor_is_kept_for_its_node_unless_it_is_dead_or_something_was_raised(monkeypatch):
    fake = FakeRay()
    monkeypatch.setattr(load_side, "ray", fake)
    monkeypatch.setattr(load_side, "_kept", {})
    with load_actor(NODE) as first:
        with load_actor(NODE) as second:  # another measurement at the same time has another one
            assert second.number == 1
        with load_actor(OTHER) as other:
            assert other.number == 2
    assert fake.killed == [1]  # one a node is kept
    with load_actor(NODE) as again:
        assert again is first
    for said in (fake.exceptions.RayActorError(), fake.exceptions.GetTimeoutError()):
        fake.silent = {one.number: said for one in fake.made if one is not other}
        before = len(fake.made)
        with load_actor(NODE) as anew:
            assert anew.number == before and fake.killed[-1] != anew.number
        fake.silent = {}
    with pytest.raises(KeyboardInterrupt), load_actor(NODE) as broken:
        raise KeyboardInterrupt
    assert fake.killed[-1] == broken.number
    for asked in fake.asked:
        assert asked["num_cpus"] == 0 and not asked["scheduling_strategy"].soft
        assert asked["runtime_env"] == {"env_vars": load_side.LOAD_ENVIRONMENT}
    assert {asked["scheduling_strategy"].node_id for asked in fake.asked} == {NODE, OTHER}
    let_go()
    assert fake.killed[-1] == other.number and not load_side._kept


# --- measuring a replica by it


class RemoteCalls:
    """A load actor as its caller sees it; `get` hands out what each call was to give, or raises it."""

    def __init__(self, given):
        self.given, self.calls = given, []

    def __getattr__(self, name):
        def remote(*words):
            self.calls.append((name, words))
            return name

        return SimpleNamespace(remote=remote)

    def get(self, name, timeout=None):
        self.calls.append((f"get {name}", timeout))
        given = self.given.get(name)
        if isinstance(given, Exception):
            raise given
        return given


@pytest.fixture
def measured(monkeypatch):
    """A measurement of a replica on the machine "here", by an actor whose calls give this; and the actor's calls."""

    def of(**given):
        actor = RemoteCalls({"stand_apart": True, "is_apart": True, "answer": level_of(), **given})

        @contextmanager
        def kept(node):
            actor.calls.append(("kept for", node))
            yield actor

        monkeypatch.setattr(measure, "load_actor", kept)
        monkeypatch.setattr(measure, "_away_from", lambda hostname: f"away from {hostname}")
        monkeypatch.setattr(measure, "ray", SimpleNamespace(get=actor.get, exceptions=ray.exceptions))
        running = SimpleNamespace(facts=lambda: SimpleNamespace(hostname="here"), endpoint="endpoint")
        with_actor = WithLoadActor(Question(LoadPlan(total_max_s=30.0)), ["a", "b"])
        return actor, lambda: with_actor(running, Settings(), to_beat_rps=7.0)

    return of


def level_of():
    return Measurement("peak_rate", (load(clients=1),), 0, True, False, 1.0, "")


def test_a_replica_is_measured_from_away_with_all_that_was_asked(measured):
    actor, measure_it = measured()
    assert measure_it() == level_of()
    calls = dict(actor.calls)
    assert calls["kept for"] == "away from here" and calls["answer"] == (
        Question(LoadPlan(total_max_s=30.0)),
        Settings(),
        7.0,
    )
    endpoint, payloads = calls["aim"]
    assert endpoint() == "endpoint" and payloads == ["a", "b"]
    assert calls["get answer"] == 30.0 + 60.0  # no longer than its plan, and a start


@pytest.mark.parametrize(("before", "after"), [(True, True), (True, False), (False, True)])
def test_the_load_was_apart_if_it_was_from_its_begin_to_its_end(measured, before, after):
    _, measure_it = measured(stand_apart=before, is_apart=after)
    assert measure_it().apart is (before and after)


def test_a_load_test_that_does_not_end_says_why(measured):
    failed = LoadFailed("a sender has ended")
    task_error = ray.exceptions.RayTaskError("answer", "traceback", failed)
    with pytest.raises(LoadFailed, match="^a sender has ended$"):
        measured(answer=task_error)[1]()
    with pytest.raises(ray.exceptions.RayTaskError):
        measured(answer=ray.exceptions.RayTaskError("answer", "traceback", KeyError("x")))[1]()
    with pytest.raises(LoadFailed, match="^the load test did not end: too late$"):
        measured(answer=ray.exceptions.GetTimeoutError("too late\nand more"))[1]()
    with pytest.raises(LoadFailed, match="^the load test did not end: GetTimeoutError$"):
        measured(answer=ray.exceptions.GetTimeoutError(" "))[1]()
