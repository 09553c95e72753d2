"""Limits are enforced, not only counted: leases exclude one another, pinning reaches every thread, caps reach CUDA."""

import os
import subprocess
import sys
import textwrap
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest

from serve_deployments.device.limits import CoreLease, NoCores, NoDevice, enforce_cpu, enforce_gpu, pin, unleased_cores
from serve_deployments.settings import Settings


def lease(count, folder, **more):
    return CoreLease(count, folder=folder, available=[0, 1, 2], deadline_s=0.0, **more)


def test_no_core_is_leased_twice(tmp_path):
    first, second = lease(1, tmp_path), lease(2, tmp_path)
    assert set(first.cores) | set(second.cores) == {0, 1, 2}
    with pytest.raises(NoCores, match="1 cores asked for"):
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


class FakeTorch:
    """The part of torch that limits touch."""

    __version__ = "0.0"

    def __init__(self, available: bool) -> None:
        self.fractions: list[float] = []
        self.cuda = SimpleNamespace(
            is_available=lambda: available, set_per_process_memory_fraction=self.fractions.append
        )


GPU = Settings(gpu_type="T4", gpu_memory=0.25, gpu_share=0.5)


def test_gpu_memory_is_capped_and_the_share_is_a_matter_of_mps():
    torch = FakeTorch(available=True)
    memory, share = enforce_gpu(replace(GPU, mps=True), torch)
    assert torch.fractions == [0.25]
    assert memory.enforced and share.enforced
    _, share = enforce_gpu(GPU, torch)
    assert not share.enforced and "MPS does not run" in share.how


def test_the_cpu_never_passes_for_a_gpu():
    with pytest.raises(NoDevice, match="T4 asked for, but torch 0.0 sees no CUDA device"):
        enforce_gpu(GPU, FakeTorch(available=False))


def test_of_an_emulated_device_nothing_is_claimed():
    torch = FakeTorch(available=False)
    assert not any(told.enforced for told in enforce_gpu(replace(GPU, emulated=True), torch))
    assert torch.fractions == []
    assert enforce_gpu(Settings(), torch) == ()


def test_cores_that_nobody_leases_are_known_without_taking_them(tmp_path):
    held = lease(1, tmp_path)
    assert unleased_cores([0, 1, 2], folder=tmp_path) == {1, 2}
    held.release()
    assert lease(3, tmp_path).cores == (0, 1, 2)
