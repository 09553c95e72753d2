"""A GPU's memory is held to, and the device is asked whether it is: by a fake that refuses what torch refuses."""

import os
from dataclasses import replace
from types import SimpleNamespace

import pytest

from serve_deployments.device.gpu import driver, memory, outside, share
from serve_deployments.device.gpu.limits import NoDevice, checked, enforce_gpu, too_much_is_held, uses_a_gpu
from serve_deployments.fakes.fake_cuda import FakeCuda
from serve_deployments.fakes.fake_torch import FakeTorch
from serve_deployments.settings import Settings

GIB = 2**30
QUARTER = Settings(gpu_type="T4", gpu_memory=0.25)  # 4 of 16 GiB


@pytest.fixture(autouse=True)
def a_new_process(monkeypatch):
    """No share is held yet; of what CUDA itself takes see test_gpu_parts."""
    monkeypatch.setattr(outside, "_found", 0)
    monkeypatch.setattr(share, "_held", {})
    monkeypatch.setattr(share, "_now", [])


class NoTorchCuda:
    """A torch that sees no GPU."""

    __version__ = "0.0"
    cuda = SimpleNamespace(is_available=lambda: False)


def test_gpu_memory_is_capped_and_the_share_is_a_matter_of_mps(monkeypatch):
    torch = FakeTorch(FakeCuda(mps=True))
    monkeypatch.setattr("serve_deployments.device.gpu.card.multiprocessors", lambda _: 264)
    monkeypatch.setattr(driver, "library", lambda: torch.driver)
    told = enforce_gpu(replace(QUARTER, gpu_share=0.5), torch)
    assert torch.cuda.fraction == 0.25
    assert [(each.limit, each.asked, each.enforced) for each in told] == [
        ("gpu_memory", "0.25", True),
        ("gpu_share", "0.5", True),
    ]
    torch.driver = FakeTorch().driver
    _, without = enforce_gpu(replace(QUARTER, gpu_share=0.5), FakeTorch())
    assert not without.enforced and "MPS does not run" in without.how


def test_the_cpu_never_passes_for_a_gpu():
    with pytest.raises(NoDevice, match="T4 requested, but torch 0.0 sees no CUDA device"):
        enforce_gpu(QUARTER, NoTorchCuda())


def test_of_an_emulated_device_nothing_is_claimed():
    told = enforce_gpu(replace(QUARTER, gpu_share=0.5, emulated=True), NoTorchCuda())
    assert [(each.enforced, each.how) for each in told] == [(False, "emulated")] * 2
    assert checked(told, QUARTER, NoTorchCuda()) == told
    assert enforce_gpu(Settings(), NoTorchCuda()) == ()


def test_a_limit_that_nobody_asked_for_is_not_set():
    torch = FakeTorch()
    assert enforce_gpu(Settings(gpu_type="T4"), torch) == () and torch.cuda.fraction == 1.0
    [told] = enforce_gpu(Settings(gpu_type="T4", gpu_memory=0.5, gpu_share=1.0), torch)
    assert told.limit == "gpu_memory" and told.asked == "0.5" and torch.cuda.fraction == 0.5
    [told] = enforce_gpu(Settings(gpu_type="T4", gpu_memory=1), torch)  # as YAML has it
    assert told.enforced and torch.cuda.fraction == 1.0
    assert too_much_is_held(Settings(gpu_type="T4"), torch) is None


@pytest.mark.parametrize("held_gib", [0, 1, 3.99])
def test_that_a_cap_holds_is_tried_and_leaves_nothing_behind(held_gib):
    torch = FakeTorch()
    weights = torch.cuda.take(int(held_gib * GIB)) if held_gib else None
    before = torch.cuda.memory_reserved()
    [told] = enforce_gpu(QUARTER, torch)
    assert told.enforced and told.how.startswith("torch.cuda.set_per_process_memory_fraction")
    assert torch.cuda.memory_reserved() == before and (weights is None) == (held_gib == 0)


def test_what_the_cache_holds_does_not_pass_for_a_cap_that_fails():
    torch = FakeTorch()
    del_me = torch.cuda.take(3 * GIB)
    del del_me
    [told] = enforce_gpu(QUARTER, torch)
    assert told.enforced and torch.cuda.memory_reserved() == 0


def test_a_cap_that_is_not_held_is_said():
    torch = FakeTorch(FakeCuda(holds=False))
    [told] = enforce_gpu(QUARTER, torch)
    assert not told.enforced and torch.cuda.memory_reserved() == 0
    assert told.how.endswith("more than the 0.00 GiB held were not refused, though the cap is 4.00 GiB")


def test_a_cap_that_cannot_be_tried_is_not_said_to_hold():
    """The device would refuse it too, as others have the rest: that shows nothing of the cap."""
    [told] = enforce_gpu(QUARTER, FakeTorch(FakeCuda(others_bytes=13 * GIB)))
    assert not told.enforced and "only 3.00 GiB are free on the GPU, too little to try" in told.how


def test_a_cap_of_the_whole_device_needs_no_trying():
    [told] = enforce_gpu(replace(QUARTER, gpu_memory=1.0), FakeTorch(FakeCuda(others_bytes=13 * GIB)))
    assert told.enforced


def test_an_allocator_that_takes_no_cap_is_said(monkeypatch):
    torch = FakeTorch()

    def refuses(fraction):
        raise RuntimeError("CUDAPluggableAllocator does not yet support setMemoryFraction")

    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", refuses)
    [told] = enforce_gpu(QUARTER, torch)
    assert not told.enforced and "torch's allocator takes no cap: CUDAPluggable" in told.how


def test_an_attempt_that_fails_otherwise_or_leaves_something_shows_nothing(monkeypatch):
    torch = FakeTorch()

    def broken(size, **how):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch, "empty", broken)
    assert memory.why_not_capped(0.25, torch) == "an attempt to exceed the cap failed otherwise: RuntimeError"
    kept = []

    def leaves(size, **how):
        kept.append(torch.cuda.take(2 << 20))
        raise MemoryError

    monkeypatch.setattr(torch, "empty", leaves)
    assert memory.why_not_capped(0.25, torch) == f"an attempt to exceed the cap left {2 << 20} bytes on the GPU"


def test_what_is_held_already_is_beyond_a_lower_cap_and_that_is_said():
    torch = FakeTorch()
    weights = torch.cuda.take(6 * GIB)
    [told] = enforce_gpu(QUARTER, torch)
    assert not told.enforced and "6.00 GiB are held, more than the 4.00 GiB of the cap" in told.how and weights
    assert too_much_is_held(QUARTER, torch) == "6.00 GiB are held, more than the 4.00 GiB of the cap"
    assert too_much_is_held(replace(QUARTER, gpu_memory=0.5), torch) is None


@pytest.fixture
def proc(tmp_path):
    """A /proc with a process that has a GPU open, one that has none, and one whose files are another user's."""
    for pid, targets in {7: ["/dev/null", "/dev/nvidia0"], 8: ["/dev/null", "/tmp/nvidia.log"]}.items():
        (tmp_path / str(pid) / "fd").mkdir(parents=True)
        for number, target in enumerate(targets):
            os.symlink(target, tmp_path / str(pid) / "fd" / str(number))
    return tmp_path


def test_a_process_uses_a_gpu_if_it_has_one_open(proc):
    assert [uses_a_gpu(pid, proc) for pid in (7, 8, 9)] == [True, False, False]
    assert not uses_a_gpu(os.getpid())


def test_processes_of_the_model_on_the_gpu_are_not_held_to_its_limits(monkeypatch):
    torch = FakeTorch(FakeCuda(mps=True))
    monkeypatch.setattr("serve_deployments.device.gpu.card.multiprocessors", lambda _: 264)
    monkeypatch.setattr(driver, "library", lambda: torch.driver)
    both = replace(QUARTER, gpu_share=0.5)
    told = enforce_gpu(both, torch)
    monkeypatch.setattr("serve_deployments.device.gpu.limits.uses_a_gpu", lambda pid: pid in (7, 8))
    assert checked(told, both, torch, [9, 10]) == told
    after = checked(told, both, torch, [7, 9])
    assert [each.enforced for each in after] == [False, False]
    assert all(each.how.endswith("; not held to it: 1 process that the model started") for each in after)
    assert "2 processes that the model started" in checked(told, both, torch, [7, 8])[0].how


def test_a_model_that_grows_beyond_its_cap_is_told():
    torch = FakeTorch()
    told = enforce_gpu(QUARTER, torch)
    torch.cuda.set_per_process_memory_fraction(1.0)  # as a builder may
    weights = torch.cuda.take(5 * GIB)
    [after] = checked(told, QUARTER, torch)
    assert not after.enforced and "5.00 GiB are held, more than the 4.00 GiB of the cap" in after.how and weights
