"""What a replica says of itself and of what it did, in virtual time: facts, queue, batches ahead, others' work."""

import asyncio
import math
import os
import socket
from types import SimpleNamespace

import pytest

from cluster.fakes import FakeTime
from serve_deployments.backend import ReplicaFacts
from serve_deployments.device import limits, replica_limits
from serve_deployments.device.meter import Meter
from serve_deployments.models.model import Builder
from serve_deployments.replicas import replica
from serve_deployments.replicas.hosting import HostedModel
from serve_deployments.resources.enforcement import Enforcement
from serve_deployments.settings import Settings
from tests.serve_deployments.virtual_replica import later, served


def moody():
    """As `model.build`: raises what it is asked to."""

    async def batch(payloads):
        for payload in payloads:
            if isinstance(payload, Exception):
                raise payload
        return payloads

    return batch


MOODY = Builder(f"{__name__}:moody", concurrent=False)


@pytest.fixture
def machine(monkeypatch):
    """This machine as a replica sees it: 4 GB, of which 1 GB is free and 2 GB more are only the page cache."""
    memory = SimpleNamespace(total=4_000, available=3_000, free=1_000)
    monkeypatch.setattr(replica, "psutil", SimpleNamespace(virtual_memory=lambda: memory))


def test_a_replica_says_all_that_there_is_to_say_of_itself(machine):
    async def ask(server):
        return await server.facts()

    assert served(MOODY, Settings(cpu_cores=2, emulated=True), ask) == ReplicaFacts(
        hostname=socket.gethostname(),
        pid=os.getpid(),
        cores=(),
        enforcements=(
            Enforcement("cpu_cores", "2", False, "emulated"),
            Enforcement("threads", "2", True, "torch.set_num_threads and threadpoolctl"),
        ),
        device="cpu",
        failure=None,
        out_of_memory=None,
        raised=0,
        said=None,
        changeable=frozenset(),
        free_memory=0.75,
        idle_with=None,
    )


def test_a_model_that_raised_is_told_with_the_first_that_it_said_and_serves_on():
    async def ask(server):
        answers = [
            await asyncio.gather(server.infer(payload), return_exceptions=True)
            for payload in (ValueError("bad\nframes"), "good", MemoryError("2 GiB do not fit"), KeyError("k"))
        ]
        return [str(answer) for [answer] in answers], await server.facts()

    answers, facts = served(MOODY, Settings(emulated=True), ask)
    assert answers == ["ValueError: bad", "good", "2 GiB do not fit", "KeyError: 'k'"]
    assert (facts.raised, facts.said) == (3, "ValueError: bad")
    assert facts.out_of_memory == "2 GiB do not fit" and facts.failure is None


@pytest.fixture
def a_second_each(monkeypatch):
    """Whatever the model is, a batch takes a second; when each begins is noted."""
    begun = []

    async def slow(self, payloads):
        begun.append((asyncio.get_running_loop().time(), payloads))
        await asyncio.sleep(1.0)
        return payloads

    monkeypatch.setattr(HostedModel, "__call__", slow)
    return begun


def test_how_many_wait_is_told_and_the_most_since_it_was_asked_before(a_second_each):
    """One runs, three wait; a second later one of them runs, and two wait."""

    async def ask(server):
        told = []
        requests = [asyncio.create_task(later(server, at_s, at_s)) for at_s in (0, 0.1, 0.2, 0.3)]
        for at_s in (0.5, 0.7, 0.4, 3.0):
            await asyncio.sleep(at_s)
            usage = await server.usage()
            told.append((usage.queue, usage.queue_most))
        await asyncio.gather(*requests)
        return told

    assert served(MOODY, Settings(emulated=True), ask) == [(3, 3), (2, 3), (2, 2), (0, 2)]


class InSteps:
    """A model that can have a second batch under way."""

    begin = finish = __call__ = lambda self, given: given


def in_steps():
    return InSteps()


@pytest.mark.parametrize(("build", "begins_s"), [("in_steps", [0, 0.25, 1.25]), ("moody", [0, 1.0, 2.0])])
def test_a_full_batch_is_begun_ahead_where_the_model_can_have_two(a_second_each, build, begins_s):
    """Two at once, two a quarter of a second later, and one that no batch is full with."""

    async def ask(server):
        start_s = asyncio.get_running_loop().time()
        await asyncio.gather(*(later(server, at_s, at_s) for at_s in (0, 0, 0.25, 0.25, 1.1)))
        return [time_s - start_s for time_s, _ in a_second_each]

    settings = Settings(emulated=True, max_batch_size=2)
    assert served(Builder(f"{__name__}:{build}"), settings, ask) == pytest.approx(begins_s)


class Process:
    """One that computes nothing."""

    def cpu_s(self):
        return 0.0

    def memory_bytes(self):
        return 0

    def waited_s(self):
        return math.inf


class Lease:
    """Cores 5 and 6, which nobody else wants."""

    cores = (5, 6)

    def __init__(self, count, *, deadline_s):
        assert count == len(self.cores)

    def release(self):
        pass


@pytest.fixture
def nine_cores(monkeypatch):
    """A machine whose cores are each busy by a tenth of their number, with work that is not the replica's."""
    time = FakeTime()
    meter = Meter(Process(), now=time.clock, core_busy_s=lambda: [time.now_s * core / 10 for core in range(9)])
    monkeypatch.setattr(replica, "meter_of", lambda device, processes: meter)
    monkeypatch.setattr(replica_limits, "CoreLease", Lease)
    monkeypatch.setattr(limits, "pin", lambda cores, pids=(): None)
    monkeypatch.setattr(limits, "is_pinned", lambda cores, pids: True)
    monkeypatch.setattr(limits, "can_pin", lambda: True)
    monkeypatch.setattr(limits, "machine_cores", lambda: set(range(9)))
    return time


def test_what_others_had_of_the_cores_is_told_as_long_as_they_are_the_replicas(nine_cores):
    """Ten seconds pinned, ten parked, ten pinned again: half of core 5 and six tenths of core 6 were others'."""

    async def ask(server):
        told = []
        for step in (None, server.park, lambda: server.change(settings.as_dict())):
            if step is not None:
                await step()
            nine_cores.now_s += 10
            usage = await server.usage()
            told.append((usage.others_s, usage.cores_s))
        return told, (await server.facts()).cores

    settings = Settings(cpu_cores=2)
    told, cores = served(MOODY, settings, ask)
    assert told == [(pytest.approx(11), 20), (pytest.approx(11), 20), (pytest.approx(22), 40)] and cores == (5, 6)
