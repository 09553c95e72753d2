"""The load actor as a real Ray actor, against a fake server in its process and the machine's clock."""

import asyncio
import os
import time
from typing import Any

import pytest
import ray

from serve_deployments.backend import LoadFailed
from serve_deployments.device.limits import machine_cores, unleased_cores
from serve_deployments.device.load_processes import marked
from serve_deployments.endpoint import WHOLE
from serve_deployments.fakes.virtual_replicas import FakeServer
from serve_deployments.load.clock import RealClock
from serve_deployments.load.load_generator import LoadGenerator
from serve_deployments.load.remote_sender import RemoteSender, SenderActor
from serve_deployments.measuring.in_cluster.actor import LoadActor
from serve_deployments.measuring.in_cluster.load_side import load_actor, release_cores
from serve_deployments.measuring.level import closed_level
from serve_deployments.measuring.load_test import LoadTest
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.settings import Settings

PLAN = LoadPlan(level_min_s=0.5, level_max_s=4, total_max_s=12, max_concurrency=4)


@pytest.fixture
def actor(local_ray):
    made: Any = ray.remote(LoadActor).options(num_cpus=0).remote(lambda: FakeServer(lambda batch: 0.05), ["a", "b"])
    yield made
    ray.kill(made)


@pytest.mark.ray
def test_an_actor_is_kept_unless_it_died_or_something_was_raised(local_ray):
    here = ray.get_runtime_context().get_node_id()
    with load_actor(here) as first:
        ray.get(first.set_target.remote(lambda: FakeServer(lambda batch: 0.01), ["a"]))
        its = ray.get(first.__ray_call__.remote(lambda actor: os.getpid()))
        assert its in [process.pid for process in marked()]  # so that replicas tell it from others' work
        with load_actor(here) as second:
            assert second is not first  # one test at a time
    with pytest.raises(ZeroDivisionError), load_actor(here) as again:
        assert again is first
        raise ZeroDivisionError
    with load_actor(here) as third:
        assert third is not first
    ray.kill(third)
    with load_actor(here) as fourth:
        assert fourth is not third
    release_cores()


@pytest.mark.ray
def test_the_actor_measures_in_real_time_and_ends_when_told(actor):
    found = ray.get(actor.run.remote(LoadTest(PLAN), Settings()), timeout=60)
    assert found.best and found.metrics["rps"] > 0
    # A core of 50 ms a request in each process that sends (more than one where this one had too little of the machine):
    # no more can end, whoever else is at work. A rate says less: after a stall at the beginning few answers look fast.
    for load in found.levels:
        assert 0 < load.completed <= load.senders * (20 * (load.ended_at - load.started_at) + 2)
    level = ray.get(actor.open.remote(10.0, PLAN), timeout=60)
    assert level.value("p50_ms") >= 49 and level.started_at > 1e9 and level.client_cpu_share > 0

    # Ray says nothing of the order in which calls of an actor with coroutines begin: either of the two may be second.
    long = LoadPlan(level_min_s=90, level_max_s=100)
    [refused], [running] = ray.wait([actor.closed.remote(2, long), actor.open.remote(10.0, long)], timeout=60)
    with pytest.raises(RuntimeError, match="running a load test already"):
        ray.get(refused)
    ray.get(actor.close.remote(), timeout=60)
    with pytest.raises(ray.exceptions.RayError):
        ray.get(running, timeout=60)
    # It can be used again.
    assert ray.get(actor.closed.remote(1, PLAN), timeout=60).completed > 0


@pytest.mark.ray
def test_two_processes_share_a_load_and_fail_it_when_one_dies(local_ray):
    """Each sends to a server of its own; in the record they are one."""
    actors: list[Any] = [ray.remote(SenderActor).options(num_cpus=0).remote() for _ in range(2)]

    async def shared():
        server = FakeServer(lambda batch: 0.05, cores=9)
        senders = [
            await RemoteSender.with_target(
                actor, lambda: FakeServer(lambda batch: 0.05, cores=9), ["a"], i, 2, machine_cores()
            )
            for i, actor in enumerate(actors)
        ]
        generator = LoadGenerator(server, senders, RealClock())
        load = await closed_level(generator, ["a"], 5, PLAN)
        ray.kill(actors[1])
        with pytest.raises(LoadFailed, match="a load-sending process died"):
            await closed_level(generator, ["a"], 5, PLAN)
        return load

    load = asyncio.run(shared())
    assert load.senders == 2 and not load.errors and load.client_cpu_share > 0 and load.value("p50_ms") >= 50
    # Each of five clients waits 50 ms for an answer; how few they have is the machine's affair.
    assert 0 < load.completed <= 5 * (20 * (load.ended_at - load.started_at) + 1)
    ray.kill(actors[0])


class Spinning:
    """Answers after work in the client's own process: whoever sends is the bottleneck."""

    async def infer(self, payload):
        until = time.monotonic() + 0.003
        while time.monotonic() < until:
            pass
        await asyncio.sleep(0)
        return WHOLE

    async def usage(self):
        return None


@pytest.mark.ray
@pytest.mark.slow
def test_an_actor_that_is_the_bottleneck_shares_its_load_where_there_are_cores(local_ray):
    here = ray.get_runtime_context().get_node_id()
    with load_actor(here) as actor:
        ray.get(actor.set_target.remote(Spinning, ["a"]))
        load = ray.get(actor.closed.remote(8, LoadPlan(level_min_s=0.3, level_max_s=1)), timeout=60)
    release_cores()
    free = len(unleased_cores(machine_cores()))
    assert load.client_limited  # however many they are: it is no work of a server's
    assert load.senders == max(1, free)
