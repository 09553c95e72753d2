"""A model that is changed while it lives: what is rebuilt, what is changed, which batches are tried before any load."""

import asyncio
import os
import subprocess
import sys
import threading
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import threadpoolctl
import torch

from serve_deployments.device import limits, replica_limits
from serve_deployments.device.replica_limits import LEASE_DEADLINE_S
from serve_deployments.device.watch_program import MARK, mark_of
from serve_deployments.models.model import Builder
from serve_deployments.replicas.hosting import HostedModel, NotRebuilt
from serve_deployments.resources.enforcement import Enforcement
from serve_deployments.settings import Settings

FIRST = Settings(emulated=True, max_batch_size=2, args={"a": 1, "b": 1})
events: list[object] = []


def with_precision(precision, a, b):
    return Answer(precision, a, b)


def without(a, b):
    return Answer("any", a, b)


class Answer:
    """Writes down what happens to it."""

    def __init__(self, precision, a, b):
        events.append(("built", precision, a, b))

    def __call__(self, payloads):
        events.append(len(payloads))
        if len(payloads) > 8:
            raise MemoryError("9 do not fit")
        return payloads

    def change(self, *, a, b=None):
        events.append({"a": a, "b": b})


def seen(host, settings):
    events.clear()
    asyncio.run(host.take_on(settings))
    return list(events)


@pytest.fixture(params=[with_precision, without])
def host(request):
    made: Any = HostedModel(Builder(f"{__name__}:{request.param.__name__}"), ["x"])
    assert seen(made, FIRST) == [("built", "float32" if request.param is with_precision else "any", 1, 1), 2, 1]
    made.takes_precision = request.param is with_precision
    return made


def test_a_batch_of_each_size_is_tried_once(host):
    assert host.live.changeable == {"a", "b"}
    assert seen(host, replace(FIRST, batch_wait_ms=5)) == []
    assert seen(host, replace(FIRST, max_batch_size=4)) == [4, 1, 1, 3, 3]  # a batch of 3 is as fast the first time
    assert seen(host, FIRST) == []


def test_only_what_it_was_built_from_costs_another_model(host):
    half = replace(FIRST, precision="bfloat16")
    assert seen(host, half) == ([("built", "bfloat16", 1, 1), 2, 1] if host.takes_precision else [])
    assert seen(host, replace(half, threads=1)) == [2, 1]


def test_arguments_are_changed_by_the_model_itself(host):
    assert seen(host, replace(FIRST, args={"a": 2, "b": 1})) == [{"a": 2, "b": None}, 2, 1]


def test_what_does_not_fit_is_remembered(host):
    with pytest.raises(MemoryError):
        seen(host, replace(FIRST, max_batch_size=9))
    assert host.out_of_memory == "9 do not fit" and host.raised


def test_the_same_batch_is_tried_again_under_other_threads(host):
    assert seen(host, replace(FIRST, threads=3)) == [2, 1]
    assert seen(host, replace(FIRST, threads=3)) == []


def test_without_samples_nothing_is_tried():
    assert seen(HostedModel(Builder(f"{__name__}:without")), FIRST) == [("built", "any", 1, 1)]


def test_samples_are_repeated_to_fill_a_batch(monkeypatch):
    asked = []

    async def ask(self, payloads):
        asked.append(payloads)
        return payloads

    monkeypatch.setattr(HostedModel, "__call__", ask)
    asyncio.run(HostedModel(Builder(f"{__name__}:without"), ["x", "y"]).take_on(replace(FIRST, max_batch_size=5)))
    assert asked[0] == ["x", "y", "x", "y", "x"]


def of_context(precision, device, cpu_cores, threads, gpu_type, gpu_share, gpu_memory_gib):
    """A model that answers with what it was told of the replica."""
    told = (precision, device, cpu_cores, threads, gpu_type, gpu_share, gpu_memory_gib)
    return lambda payloads: [told] * len(payloads)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (Settings(emulated=True), ("float32", "cpu", 1, 1, None, 1.0, None)),
        (Settings(emulated=True, cpu_cores=3), ("float32", "cpu", 3, 3, None, 1.0, None)),
        (
            Settings(
                emulated=True, cpu_cores=3, threads=2, precision="bfloat16", gpu_type="T4", gpu_share=0.5,
                gpu_memory=0.25, gpu_memory_gib=4.0,
            ),
            ("bfloat16", "cpu", 3, 2, "T4", 0.5, 4.0),
        ),
    ],
)  # fmt: skip
def test_a_builder_is_told_of_the_replica_what_the_settings_say(settings, told):
    host = HostedModel(Builder(f"{__name__}:of_context"))
    asyncio.run(host.take_on(settings))
    assert asyncio.run(host(["x"])) == [told]


class Lease:
    """Cores that nobody else wants; notes who asked and what was given back."""

    made: list["Lease"] = []

    def __init__(self, count, *, deadline_s):
        self.cores, self.deadline_s, self.released = tuple(range(5, 5 + count)), deadline_s, False
        Lease.made.append(self)

    def release(self):
        self.released = True


@pytest.fixture
def machine(monkeypatch):
    """A machine of nine cores whose affinity and torch's threads are only noted."""
    pinned: list[tuple[int, ...]] = []
    threads: list[int] = []
    monkeypatch.setattr(Lease, "made", [])
    monkeypatch.setattr(replica_limits, "CoreLease", Lease)
    monkeypatch.setattr(limits, "pin", lambda cores, pids=(): pinned.append(tuple(sorted(cores))))
    monkeypatch.setattr(limits, "is_pinned", lambda cores, pids: set(cores) == set(pinned[-1]))
    monkeypatch.setattr(limits, "can_pin", lambda: True)
    monkeypatch.setattr(limits, "machine_cores", lambda: set(range(9)))
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads[-1])
    return SimpleNamespace(pinned=pinned, threads=threads, leases=Lease.made)


def test_cores_are_leased_and_pinned_once_given_back_when_parked_and_leased_anew(machine):
    host = HostedModel(Builder(f"{__name__}:without"))
    settings = replace(FIRST, emulated=False, cpu_cores=2)
    assert not host.limits.cores and host.live.ahead == 0 and host.live.changeable == frozenset()
    seen(host, settings)
    assert (
        host.limits.lease is not None
        and host.limits.cores == host.limits.lease.cores == (5, 6)
        and set(machine.pinned) == {(5, 6)}
        and set(machine.threads) == {2}
    )
    seen(host, replace(settings, max_batch_size=4))
    assert len(machine.leases) == 1 and machine.leases[0].deadline_s == LEASE_DEADLINE_S == 60
    assert [(told.limit, told.enforced) for told in host.told()] == [("cpu_cores", True), ("threads", True)]
    host.limits.release()
    # Idle it may run anywhere: what little it does must not stick to a core that is measured.
    assert machine.leases[0].released and host.limits.lease is None and not host.limits.cores
    assert machine.pinned[-1] == tuple(range(9))
    before = len(machine.pinned)
    host.limits.release()
    assert len(machine.pinned) == before
    seen(host, settings)
    assert len(machine.leases) == 2 and host.limits.cores == (5, 6) and machine.pinned[-1] == (5, 6)


def test_what_a_model_starts_has_the_mark_of_its_replica(machine, monkeypatch):
    """By which it is found and ended wherever the replica is killed."""
    monkeypatch.setenv(MARK, "of another process")
    seen(HostedModel(Builder(f"{__name__}:without")), replace(FIRST, emulated=False))
    assert os.environ[MARK] == mark_of(os.getpid())


def test_cores_that_could_not_be_pinned_are_not_told_as_the_replicas_own(machine, monkeypatch):
    monkeypatch.setattr(limits, "can_pin", lambda: False)
    host = HostedModel(Builder(f"{__name__}:without"))
    seen(host, replace(FIRST, emulated=False))
    assert host.limits.lease is not None and host.limits.lease.cores == (5,) and not host.limits.cores
    host.limits.release()
    assert machine.pinned == []


def tells(a):
    class Tells:
        def __call__(self, payloads):
            return payloads

        def told(self):
            return (Enforcement("compile", "default", True, "by hand"),)

    return Tells()


def test_what_the_model_says_of_itself_comes_after_the_limits():
    host = HostedModel(Builder(f"{__name__}:tells"))
    assert host.told() == ()
    asyncio.run(host.take_on(Settings(emulated=True, args={"a": 1})))
    assert [told.limit for told in host.told()] == ["cpu_cores", "threads", "compile"]


@pytest.mark.parametrize("model", ["at_once", "later", "in_steps"])
def test_each_kind_of_model_answers_in_order(model):
    host = HostedModel(Builder(f"{__name__}:{model}"))
    asyncio.run(host.take_on(Settings(emulated=True)))
    assert asyncio.run(host([3, 1, 2])) == [6, 2, 4]
    assert host.live.ahead == (1 if model == "in_steps" else 0) and host.raised == 0 and host.said is None


def at_once():
    return lambda payloads: [2 * each for each in payloads]


def later():
    async def answer(payloads):
        return [2 * each for each in payloads]

    return answer


class InSteps:
    """Two batches at a time: begun in the model's thread, finished in another one."""

    def begin(self, payloads):
        return threading.current_thread().name, payloads

    def finish(self, begun):
        name, payloads = begun
        assert name.startswith("model") and threading.current_thread().name.startswith("results")
        return [2 * each for each in payloads]

    def __call__(self, payloads):
        raise AssertionError("a model in steps is not called")


def in_steps():
    return InSteps()


def test_the_longest_batch_is_known_so_that_it_can_be_waited_for():
    host = HostedModel(Builder(f"{__name__}:without"))
    asyncio.run(host.take_on(FIRST))
    assert host.longest_batch_s == host.longest_answer_s == 0.0
    asyncio.run(host(["x"]))
    assert host.longest_batch_s >= host.longest_answer_s > 0.0


def test_what_was_not_answered_says_nothing_of_how_long_an_answer_takes():
    """Else requests that an engine drops would be waited for longer each time."""
    host = HostedModel(Builder(f"{__name__}:moody"))
    asyncio.run(host.take_on(Settings(emulated=True)))
    with pytest.raises(ValueError, match="bad"):
        asyncio.run(host(["bad"]))
    assert host.longest_batch_s > 0.0 and host.longest_answer_s == 0.0


def test_what_a_model_raises_is_counted_and_the_first_is_kept():
    host = HostedModel(Builder(f"{__name__}:moody"))
    asyncio.run(host.take_on(Settings(emulated=True)))
    for payload in ("bad", "full", "worse"):
        with pytest.raises((ValueError, MemoryError)):
            asyncio.run(host([payload]))
    assert host.raised == 3 and host.said == "ValueError: bad" and host.out_of_memory == "full is too much"
    assert asyncio.run(host(["good"])) == ["good"]


def moody():
    def answer(payloads):
        if payloads == ["full"]:
            raise MemoryError("full is too much\nmore")
        if payloads != ["good"]:
            raise ValueError(payloads[0])
        return payloads

    return answer


def sets_its_own():
    torch.set_num_threads(3)
    return lambda payloads: payloads


def sets_them_in_each_batch():
    def answer(payloads):
        torch.set_num_threads(3)
        return payloads

    return answer


@pytest.mark.parametrize(
    ("model", "enforced", "how"),
    [
        ("sets_its_own", True, "torch.set_num_threads and threadpoolctl"),
        ("sets_them_in_each_batch", False, "the model set 3"),
    ],
)
def test_threads_are_set_again_after_the_model_was_built_and_read_after_its_first_batch(model, enforced, how):
    before = torch.get_num_threads()
    try:
        host = HostedModel(Builder(f"{__name__}:{model}"), ["x"])
        asyncio.run(host.take_on(Settings(emulated=True, threads=1)))
        told = {one.limit: one for one in host.told()}["threads"]
        assert told == Enforcement("threads", "1", enforced, how)
    finally:
        torch.set_num_threads(before)


def test_sizes_that_were_not_run_before_the_load_are_told(monkeypatch):
    monkeypatch.setattr("serve_deployments.replicas.batching.first_batches.READY_S", 0.0)
    host = HostedModel(Builder(f"{__name__}:without"), ["x"])
    asyncio.run(host.take_on(replace(FIRST, max_batch_size=4)))
    [told] = [one for one in host.told() if one.limit == "first batches before the load"]
    assert not told.enforced and told.how.startswith("batches of 2, 1 would have taken more than 0 s")


def of_numpy():
    """Answers with the threads of numpy's library, as they are while it computes."""

    def answer(payloads):
        np.ones((64, 64)) @ np.ones((64, 64))
        pools = [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
        return [sorted(set(pools))] * len(payloads)

    return answer


def test_a_model_of_numpy_computes_with_the_threads_of_its_settings():
    before = torch.get_num_threads()
    try:
        with threadpoolctl.threadpool_limits():
            host = HostedModel(Builder(f"{__name__}:of_numpy"))
            for threads in (2, 1):
                asyncio.run(host.take_on(Settings(emulated=True, threads=threads)))
                assert asyncio.run(host(["x"])) == [[threads]]
                assert {one.limit: one for one in host.told()}["threads"].enforced
    finally:
        torch.set_num_threads(before)


def starts_a_process():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    children.append(child)
    return lambda payloads: [child.pid] * len(payloads)


children: list[subprocess.Popen] = []


def test_a_process_that_the_model_started_is_told_of_and_another_number_of_threads_takes_another_replica():
    host = HostedModel(Builder(f"{__name__}:starts_a_process"))
    asyncio.run(host.take_on(Settings(emulated=True, threads=1)))
    assert asyncio.run(host(["x"])) == [children[-1].pid]
    assert "the model computes in other processes" in {one.limit: one for one in host.told()}["threads"].how
    asyncio.run(host.take_on(Settings(emulated=True, threads=1, max_batch_size=2)))  # nothing is built: it may stay
    with pytest.raises(NotRebuilt, match="end them in a method `close` of the model"):
        asyncio.run(host.take_on(Settings(emulated=True, threads=3)))
    host.end(patience_s=60)
    assert children[-1].wait(60) is not None and not host.processes.descendants()
