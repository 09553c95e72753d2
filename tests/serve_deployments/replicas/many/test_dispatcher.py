"""The dispatcher over replicas in this process: answers, order, loss of replicas, models that come and go."""

import asyncio
import itertools
import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve_deployments.fakes.virtual_replicas import run_virtual
from serve_deployments.models.model import Builder
from serve_deployments.replicas.many import dispatcher as module
from serve_deployments.replicas.many.choosing.cheapest_conversion import CheapestConversion
from serve_deployments.replicas.many.dispatcher import TRIES, Dispatcher
from serve_deployments.replicas.many.entry import ModelEntry
from serve_deployments.replicas.many.errors import NoReplica, ReplicaLost, UnknownModel
from serve_deployments.replicas.many.line import Loaded
from serve_deployments.settings import Settings


def entry(name, version=1):
    return ModelEntry(name, Builder("a:b"), Settings(args={"version": version}))


@dataclass
class Process:
    """A replica whose model answers (its name, its version, the payload), and that is asked only for what it holds."""

    load_s: float = 0.002
    serve_s: float = 0.001
    held: ModelEntry | None = None
    up: bool = True
    ends_at: set[int] = field(default_factory=set)  # numbers of the calls during which it ends
    broken: set[str] = field(default_factory=set)  # names of models that do not load
    calls: int = 0
    serving: set[object] = field(default_factory=set)  # requests of the process that is there now
    log: list[str] = field(default_factory=list)

    async def started(self):
        while not self.up:
            await asyncio.sleep(0.001)
        return "node"

    async def hold(self, entry):
        assert not self.serving, "it is serving another model"
        await self._spend("load", self.load_s)
        self.held = None
        if entry.name in self.broken:
            raise ValueError(f"{entry.name} is broken")
        self.held = entry
        self.log.append(entry.name)
        return Loaded(self.load_s, 10, "test")

    async def infer(self, entry, payload):
        if self.held is not entry:
            raise ReplicaLost("it holds another")
        request = object()
        self.serving.add(request)
        await self._spend("serve", self.serve_s)
        if request not in self.serving:
            raise ReplicaLost("its process has ended")
        self.serving.remove(request)
        assert self.held is entry
        if payload == "bad":
            raise ValueError("a bad payload")
        return entry.name, entry.settings.args["version"], payload

    async def drop(self):
        self.held = None
        self.log.append("-")

    async def _spend(self, what, seconds):
        self.calls += 1
        number = self.calls
        if not self.up:
            raise ReplicaLost("it is not there")
        await asyncio.sleep(seconds)
        if number in self.ends_at:
            self.held = None
            self.serving.clear()
            raise ReplicaLost(f"it ended while it did {what}")


def dispatcher(processes, names="ab", idle_s=0.0):
    replicas = {f"r{i}": process for i, process in enumerate(processes)}
    clock = asyncio.get_running_loop().time
    return Dispatcher(CheapestConversion(idle_s), replicas, [entry(name) for name in names], clock)


def run(test):
    """Runs a test in virtual time, in which only waiting takes any."""
    run_virtual(test())


def test_a_model_is_loaded_once_and_each_request_is_answered_by_its_own():
    async def test():
        process = Process()
        front = dispatcher([process])
        answers = await asyncio.gather(*(front.infer("a", i) for i in range(5)))
        assert answers == [("a", 1, i) for i in range(5)] and process.log == ["a"]
        assert await front.infer("b", 9) == ("b", 1, 9)
        assert await front.infer("a", 1) == ("a", 1, 1)
        tally = front.tally.as_dict()
        assert (tally["hits"], tally["conversions"], tally["cold_starts"]) == (4, 2, 1)
        assert tally["bytes_moved"] == 30 and tally["requests"]["b"] == {"conversion": 1}
        assert tally["time_to_first_output_s"]["conversion"]["mean"] >= 0.003
        assert front.held == {"r0": "a"}

    run(test)


def test_requests_of_one_model_are_served_together_and_the_other_waits_for_them():
    async def test():
        process = Process(serve_s=0.05)
        front = dispatcher([process])
        began_s = asyncio.get_running_loop().time()
        both = ["a", "a", "a", "b", "b", "b"]
        await asyncio.gather(*(front.infer(name, 0) for name in both))
        assert process.log == ["a", "b"]
        assert asyncio.get_running_loop().time() - began_s < 0.05 * 5  # one after the other would be 6

    run(test)


def test_what_the_model_raises_is_the_callers_and_ends_nothing():
    async def test():
        front = dispatcher([Process()])
        good = asyncio.create_task(front.infer("a", 1))
        with pytest.raises(ValueError, match="a bad payload"):
            await front.infer("a", "bad")
        assert await good == ("a", 1, 1) and front.tally.lost == 0

    run(test)


def test_a_model_that_does_not_load_is_said_to_each_who_waits_and_others_go_on():
    async def test():
        process = Process(broken={"b"})
        front = dispatcher([process])
        answers = await asyncio.gather(*(front.infer(name, 0) for name in ["a", "b", "b", "a"]), return_exceptions=True)
        assert [type(answer) for answer in answers] == [tuple, ValueError, ValueError, tuple]
        assert front.tally.failed_loads >= 1 and await front.infer("a", 1) == ("a", 1, 1)

    run(test)


@pytest.mark.parametrize("call", [1, 2, 3, 4])
def test_a_replica_that_ends_loses_nothing(call):
    """While it loads a, serves it, loads b, or serves that: the request is given to the other one."""

    async def test():
        dying, other = Process(ends_at={call}), Process()
        front = dispatcher([dying, other])
        answers = [await front.infer(name, i) for i, name in enumerate("abab")]
        assert answers == [(name, 1, i) for i, name in enumerate("abab")]
        assert front.tally.lost == sum(process.calls >= call for process in [dying])

    run(test)


def test_a_lost_replica_is_asked_for_nothing_until_it_answers_again_and_then_starts_cold():
    async def test():
        process = Process(ends_at={2})
        front = dispatcher([process])
        process.up = True
        first = asyncio.create_task(front.infer("a", 0))
        await asyncio.sleep(0.0025)
        process.up = False  # while it serves; it comes back a while later
        await asyncio.sleep(0.02)
        assert not first.done() and front.held == {"r0": None}
        process.up = True
        assert await first == ("a", 1, 0)
        assert front.tally.lost == 1 and front.tally.total("cold start") == 1

    run(test)


def test_a_request_that_ends_every_process_is_given_up():
    async def test():
        front = dispatcher([Process(ends_at=set(range(1, 99)))])
        with pytest.raises(NoReplica, match=f"{TRIES} replicas were lost"):
            await front.infer("a", 0)

    run(test)


def test_without_a_replica_a_request_is_refused_after_a_while(monkeypatch):
    monkeypatch.setattr(module, "WAIT_S", 0.02)

    async def test():
        front = dispatcher([Process(up=False)])
        with pytest.raises(NoReplica, match="no replica came up within"):
            await front.infer("a", 0)

    run(test)


def test_a_model_withdrawn_while_it_is_wanted():
    async def test():
        process = Process(serve_s=0.03, load_s=0.02)
        front = dispatcher([process], "abc")
        served = asyncio.create_task(front.infer("a", 0))
        await asyncio.sleep(0.035)  # a is being answered
        waits = asyncio.create_task(front.infer("b", 0))
        await asyncio.sleep(0)
        front.unregister("a")
        front.unregister("b")
        with pytest.raises(UnknownModel, match="'b' was withdrawn while the request waited"):
            await waits
        assert await served == ("a", 1, 0)
        with pytest.raises(UnknownModel, match="no model 'a' is served; there are c"):
            await front.infer("a", 0)
        assert await front.infer("c", 1) == ("c", 1, 1) and "b" not in process.log

    run(test)


def test_a_model_withdrawn_while_it_loads_or_rests_is_given_up_by_the_replica():
    async def test():
        process = Process(load_s=0.02)
        front = dispatcher([process])
        waits = asyncio.create_task(front.infer("a", 0))
        await asyncio.sleep(0.01)
        front.unregister("a")
        with pytest.raises(UnknownModel):
            await waits
        await asyncio.sleep(0.05)
        assert process.held is None and front.held == {"r0": None}
        await front.infer("b", 0)
        front.unregister("b")
        await asyncio.sleep(0.01)
        assert process.log[-1] == "-" and process.held is None

    run(test)


def test_another_model_under_the_same_name_is_loaded_anew():
    async def test():
        front = dispatcher([Process()])
        assert await front.infer("a", 0) == ("a", 1, 0)
        front.register(entry("a", version=2))
        assert await front.infer("a", 0) == ("a", 2, 0)

    run(test)


def test_a_request_that_is_given_up_does_not_end_the_load_for_others():
    async def test():
        process = Process(load_s=0.02)
        front = dispatcher([process])
        gives_up, stays = (asyncio.create_task(front.infer("a", i)) for i in range(2))
        await asyncio.sleep(0.005)
        gives_up.cancel()
        assert await stays == ("a", 1, 1) and process.log == ["a"]
        alone = asyncio.create_task(front.infer("b", 0))
        await asyncio.sleep(0.005)
        alone.cancel()
        assert await front.infer("a", 2) == ("a", 1, 2)

    run(test)


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 3)), min_size=1, max_size=25),
    st.integers(1, 3),
    st.sets(st.integers(1, 20), max_size=2),
    st.integers(0, 1000),
)
@settings(max_examples=40)
def test_whatever_is_asked_and_lost_each_request_has_its_own_answer(requests, count, ends_at, seed):
    async def test():
        rng = random.Random(seed)
        processes = [Process(0.001, 0.001, ends_at=ends_at if i == 0 else set()) for i in range(count)]
        front = dispatcher(processes, "abcd")

        async def ask(number, name, delay):
            await asyncio.sleep(delay * 0.001 * rng.random())
            return await front.infer(name, number)

        asked = [ask(number, name, delay) for number, (name, delay) in enumerate(requests)]
        answers = await asyncio.gather(*asked)
        assert answers == [(name, 1, number) for number, (name, _) in enumerate(requests)]
        tally = front.tally
        assert sum(tally.done.values()) == len(requests)
        assert tally.bytes_moved == 10 * sum(len(process.log) for process in processes)

    run(test)


def test_many_loads_of_two_models_end_where_they_should():
    async def test():
        process = Process(0.0, 0.0)
        front = dispatcher([process])
        for name in itertools.islice(itertools.cycle("ab"), 200):
            assert (await front.infer(name, 0))[0] == name
        assert front.tally.total("conversion") == 199 and len(front._lines["r0"].groups) == 1

    run(test)
