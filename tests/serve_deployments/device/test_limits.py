"""Limits of cores are enforced, not only counted: leases exclude one another, pinning reaches every thread."""

import importlib.util
import os
import subprocess
import sys
import textwrap
import threading
from functools import partial

import pytest

from serve_deployments.device import limits
from serve_deployments.device.cgroups import Quota
from serve_deployments.device.limits import (
    CoreLease,
    NoCores,
    enforce_cpu,
    machine_cores,
    pin,
    unleased_cores,
)
from serve_deployments.settings import Settings


def lease(count, folder, **more):
    return CoreLease(count, folder=folder, available=[0, 1, 2], deadline_s=0.0, **more)


def test_no_core_is_leased_twice(tmp_path):
    first, second = lease(1, tmp_path), lease(2, tmp_path)
    assert set(first.cores) | set(second.cores) == {0, 1, 2}
    with pytest.raises(NoCores, match="1 cores requested"):
        lease(1, tmp_path)
    second.release()
    assert lease(2, tmp_path).cores == (1, 2)


def test_a_lease_that_fails_holds_nothing(tmp_path):
    held = lease(2, tmp_path)
    with pytest.raises(NoCores):
        lease(2, tmp_path)
    assert lease(1, tmp_path).cores == (2,)
    held.release()
    held.release()


def test_more_cores_than_there_are_is_no_waiting_matter(tmp_path):
    with pytest.raises(NoCores, match="this machine has 3"):
        CoreLease(4, folder=tmp_path, available=[0, 1, 2], deadline_s=1e9)


def test_a_lease_waits_until_the_cores_are_free(tmp_path):
    held = lease(3, tmp_path)
    # Time passes only by sleeping, and the first sleep frees the cores.
    waited = CoreLease(
        3, folder=tmp_path, available=[0, 1, 2], deadline_s=10, now=lambda: 0.0, sleep=lambda s: held.release()
    )
    assert waited.cores == (0, 1, 2)


def test_two_studies_that_wait_for_more_than_is_free_do_not_lock_each_other_out(tmp_path):
    """Of three cores one is taken. Both want two, and the first gets them while the second waits: a lease that kept
    the one that it found would wait for the other's for ever."""
    held = lease(1, tmp_path)
    waiting = lease(1, tmp_path)  # the third core is all that is left to wait with

    def others_turn(seconds):
        # The one that waits has nothing: whoever looks now finds the third core free, and takes it.
        assert unleased_cores([0, 1, 2], folder=tmp_path) == {2}
        waiting.release()
        raise InterruptedError

    with pytest.raises(InterruptedError):
        CoreLease(2, folder=tmp_path, available=[0, 1, 2], deadline_s=10, now=lambda: 0.0, sleep=others_turn)
    assert lease(2, tmp_path).cores == (1, 2)
    held.release()


def test_a_lease_waits_as_long_as_it_was_told_and_looks_twenty_times_a_second(tmp_path):
    held, time_s, naps_s = lease(3, tmp_path), [5.0], []

    def sleep(seconds):
        naps_s.append(seconds)
        time_s[0] += seconds

    with pytest.raises(NoCores, match="1 cores requested, but fewer than 1 of 3 were free within 2 s"):
        CoreLease(1, folder=tmp_path, available=[0, 1, 2], deadline_s=2.0, now=lambda: time_s[0], sleep=sleep)
    assert sum(naps_s) == pytest.approx(2.0, abs=0.051) and set(naps_s) == {0.05}
    held.release()


def test_a_lease_is_of_the_first_cores_and_of_no_more_than_asked_for(tmp_path):
    assert lease(2, tmp_path).cores == (0, 1)
    assert CoreLease(1, folder=tmp_path, available=[7, 5, 9], deadline_s=0).cores == (5,)


@pytest.fixture
def cores_of(monkeypatch):
    """What a process of a machine with so many cores has under a quota."""

    def found(cores, quota, group="", host="one"):
        monkeypatch.setattr(limits, "_cores_at_first", lambda: frozenset(cores))
        monkeypatch.setattr(limits, "_quota", lambda: Quota(quota, group))
        monkeypatch.setattr(limits.socket, "gethostname", lambda: host)
        return machine_cores()

    return found


@pytest.mark.parametrize(("quota", "count"), [(2, 2), (1.5, 2), (1, 1), (0.2, 1), (4, 4), (8, 4), (float("inf"), 4)])
def test_a_containers_quota_counts_as_so_many_cores(cores_of, quota, count):
    cores = cores_of([4, 5, 6, 7], quota)
    assert len(cores) == count and cores <= {4, 5, 6, 7}
    assert cores == cores_of([4, 5, 6, 7], quota)  # all processes of the container have the same


def test_containers_of_one_machine_do_not_all_begin_at_its_first_core(cores_of):
    by_host = {frozenset(cores_of(range(16), 2, host=host)) for host in "abcdefgh"}
    by_group = {frozenset(cores_of(range(16), 2, group=group)) for group in "abcdefgh"}
    assert len(by_host) > 4 and len(by_group) > 4


def test_cores_of_which_the_quota_gives_a_part_are_not_said_to_be_enforced(cores_of, tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "pin", lambda cores: None)
    monkeypatch.setattr(limits, "can_pin", lambda: True)
    cores_of([0, 1, 2, 3], 1.5)
    for cores, how in ((2, "the quota of this container is 1.5 cores"), (1, None)):
        held, told = enforce_cpu(Settings(cpu_cores=cores), lease=lambda count: lease(count, tmp_path))
        assert held is not None and told.enforced == (how is None) and how in (None, told.how)
        held.release()


def test_more_cores_than_the_quota_are_worth_are_not_leased(cores_of):
    assert len(cores_of([0, 1, 2, 3], 2)) == 2
    held, told = enforce_cpu(Settings(cpu_cores=3), lease=lambda count: pytest.fail("nobody can have three"))
    assert held is None and not told.enforced and told.how == "Ray counts more cores than this machine has (2)"


def test_the_process_is_pinned_to_the_cores_that_it_leased_and_to_no_others(tmp_path, monkeypatch):
    pinned: list[tuple[int, ...]] = []
    monkeypatch.setattr(limits, "pin", pinned.append)
    monkeypatch.setattr(limits, "machine_cores", lambda: {0, 1, 2})
    monkeypatch.setattr(limits, "can_pin", lambda: True)
    first = lease(1, tmp_path)
    held, told = enforce_cpu(Settings(cpu_cores=2), lease=lambda count: lease(count, tmp_path))
    assert held is not None and held.cores == (1, 2) and pinned == [(1, 2)]
    assert told.enforced and told.asked == "2" and told.how == "affinity to cores [1, 2]"
    held.release()
    monkeypatch.setattr(limits, "can_pin", lambda: False)
    held, told = enforce_cpu(Settings(cpu_cores=1), lease=lambda count: lease(count, tmp_path))
    assert (
        held is not None
        and held.cores == (1,)
        and len(pinned) == 1
        and not told.enforced
        and "no CPU affinity" in told.how
    )
    first.release()


def test_the_end_of_a_process_however_it_comes_ends_its_lease(tmp_path):
    script = f"""
        import os, signal
        from pathlib import Path
        from serve_deployments.device.limits import CoreLease
        kept = CoreLease(3, folder=Path({str(tmp_path)!r}), available=[0, 1, 2], deadline_s=0)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    env = {**os.environ, "PYTHONPATH": os.getcwd()}
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], env=env)
    assert ended.returncode == -9
    assert lease(3, tmp_path).cores == (0, 1, 2)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no CPU affinity")
def test_pinning_reaches_threads_that_were_there_before():
    before = os.sched_getaffinity(0)
    asked, done, seen = threading.Event(), threading.Event(), []

    def other():
        asked.wait()
        seen.append(os.sched_getaffinity(0))
        done.set()

    thread = threading.Thread(target=other)
    thread.start()
    core = min(before)
    try:
        pin([core])
        asked.set()
        done.wait()
    finally:
        asked.set()
        thread.join()
        pin(before)
    assert seen == [{core}]


def test_what_cannot_be_enforced_is_said():
    def never(count):
        raise AssertionError("no lease was called for")

    held, told = enforce_cpu(Settings(cpu_cores=10_000), lease=never)
    assert held is None and not told.enforced and "more cores than this machine has" in told.how
    held, told = enforce_cpu(Settings(emulated=True), lease=never)
    assert held is None and not told.enforced and told.how == "emulated"


def test_cores_that_nobody_leases_are_known_without_taking_them(tmp_path):
    held = lease(1, tmp_path)
    assert unleased_cores([0, 1, 2], folder=tmp_path) == {1, 2}
    held.release()
    assert lease(3, tmp_path).cores == (0, 1, 2)


@pytest.fixture
def new_process(monkeypatch):
    """`limits` as a process has it that was just started, on three cores of a machine whose affinity is only noted."""
    affinity = {4, 5, 6}

    def pinned(task, cores):
        affinity.clear()
        affinity.update(cores)

    monkeypatch.setattr(os, "sched_getaffinity", lambda task: set(affinity), raising=False)
    monkeypatch.setattr(os, "sched_setaffinity", pinned, raising=False)
    spec = importlib.util.find_spec(limits.__name__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "_quota", Quota)
    return module, affinity


def test_a_process_that_was_pinned_finds_its_way_back_to_the_other_cores(new_process, tmp_path):
    module, affinity = new_process
    take = partial(module.CoreLease, folder=tmp_path, deadline_s=0)
    held, told = module.enforce_cpu(Settings(cpu_cores=1), lease=take)
    assert told.enforced and affinity == {4} and module.machine_cores() == {4, 5, 6}
    held.release()
    held, told = module.enforce_cpu(Settings(cpu_cores=3), lease=take)
    assert told.enforced and affinity == {4, 5, 6}
    held.release()
