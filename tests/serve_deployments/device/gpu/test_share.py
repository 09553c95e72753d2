"""A share of a GPU: threads compute on their part of its multiprocessors, or it is said that they do not."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import pytest

from serve_deployments.device.gpu import driver, outside, share
from serve_deployments.device.gpu.limits import checked, enforce_gpu
from serve_deployments.device.gpu.share import CannotConfine, confine, held_stream, join, multiprocessors, new_stream
from serve_deployments.fakes.fake_cuda import FakeCuda
from serve_deployments.fakes.fake_torch import FakeTorch
from serve_deployments.settings import Settings

QUARTER = Settings(gpu_type="H100", gpu_share=0.25)
HALF = Settings(gpu_type="H100", gpu_share=0.5)


@pytest.fixture
def gpu(monkeypatch) -> Callable[..., FakeTorch]:
    """Makes the torch of a new process on this GPU, whose driver it asks."""
    monkeypatch.setattr(share, "_held", {})
    monkeypatch.setattr(share, "_now", [])

    def made(**of_gpu):
        torch = FakeTorch(FakeCuda(**of_gpu))
        monkeypatch.setattr(driver, "library", lambda: torch.driver)
        return torch

    return made


def test_a_share_is_a_part_of_the_multiprocessors_and_the_thread_computes_there(gpu):
    torch = gpu()
    [told] = enforce_gpu(QUARTER, torch)
    assert told.limit == "gpu_share" and told.asked == "0.25" and told.enforced
    assert told.how == "green context, 32 of 132 multiprocessors (24 %) for the model's threads"
    assert torch.cuda.current_stream().multiprocessors == 32 and torch.cuda.created == [32]
    assert held_stream() == torch.cuda.current_stream().cuda_stream


def test_a_share_is_what_the_device_gave_not_what_was_asked_for(gpu):
    [told] = enforce_gpu(QUARTER, gpu(given=lambda asked: 2 * asked))
    assert told.enforced and "64 of 132 multiprocessors (48 %)" in told.how
    [told] = enforce_gpu(QUARTER, gpu(given=lambda asked: asked))  # the same process: it has its share
    assert "64 of 132" in told.how


def test_a_share_that_has_all_multiprocessors_is_none(gpu):
    torch = gpu(given=lambda asked: 132)
    [told] = enforce_gpu(QUARTER, torch)
    assert not told.enforced and "a green context of 32 multiprocessors was made, but has all 132" in told.how
    assert held_stream() is None and not torch.cuda.current_stream().green


def test_a_share_is_held_as_long_as_the_process_lives_however_often_it_is_asked_for(gpu):
    torch = gpu()
    told = [enforce_gpu(settings, torch) for settings in (QUARTER, QUARTER, HALF)]
    assert told[0] == told[1] != told[2] and torch.cuda.created == [32, 64]
    assert sum(stream.green for stream in torch.cuda.streams.values()) == 2
    assert torch.cuda.current_stream().multiprocessors == 64


def test_a_thread_returns_to_its_share_whatever_a_model_has_set_and_to_all_where_there_is_none(gpu):
    torch = gpu()
    enforce_gpu(QUARTER, torch)
    torch.cuda.set_stream(torch.cuda.default_stream())
    enforce_gpu(QUARTER, torch)
    assert torch.cuda.current_stream().multiprocessors == 32
    assert enforce_gpu(Settings(gpu_type="H100"), torch) == ()
    assert torch.cuda.current_stream() is torch.cuda.default_stream()
    assert held_stream() is new_stream() is None


def test_other_threads_join_the_share_each_in_a_stream_of_its_own(gpu):
    torch = gpu()
    join()  # nothing to join
    assert not torch.cuda.current_stream().green
    enforce_gpu(QUARTER, torch)
    here, both = torch.cuda.current_stream(), threading.Barrier(2)

    def stream():
        both.wait(10)  # each task on a thread of its own
        return torch.cuda.current_stream()

    with ThreadPoolExecutor(2, initializer=join) as joined, ThreadPoolExecutor(1) as others:
        streams = [future.result(10) for future in [joined.submit(stream) for _ in range(2)]]
        assert [each.multiprocessors for each in streams] == [32, 32]
        assert len({here.cuda_stream, *(each.cuda_stream for each in streams)}) == 3
        assert others.submit(torch.cuda.current_stream).result(10).multiprocessors == 132


def test_mps_goes_first(gpu, monkeypatch):
    torch = gpu(mps=True)
    monkeypatch.setattr("serve_deployments.device.gpu.card.multiprocessors", lambda _: 264)
    [told] = enforce_gpu(QUARTER, torch)
    assert told.enforced and "MPS" in told.how and torch.cuda.created == [] and held_stream() is None
    assert checked((told,), QUARTER, torch) == (told,)


def test_a_model_that_computes_in_its_threads_stream_is_held(gpu):
    torch = gpu()
    told = enforce_gpu(QUARTER, torch)
    weights = torch.cuda.take(1 << 30)
    assert checked(told, QUARTER, torch) == told and weights


def test_what_a_cap_of_memory_took_to_be_found_is_no_models_memory_outside_the_share(gpu, monkeypatch):
    """A product shows what CUDA takes, in the default stream: cuBLAS would keep its memory there."""
    monkeypatch.setattr(outside, "_found", None)
    torch, both = gpu(), replace(QUARTER, gpu_memory=0.25)
    told = enforce_gpu(both, torch)
    assert [each.enforced for each in told] == [True, True] and torch.cuda.memory_reserved() == 0
    weights = torch.cuda.take(1 << 30)
    assert checked(told, both, torch) == told and weights


def in_the_default_stream(torch):
    torch.cuda.set_stream(torch.cuda.default_stream())
    return torch.cuda.take(3 << 20)


def in_a_thread_of_its_own(torch):
    with ThreadPoolExecutor(1) as own:
        return own.submit(torch.cuda.take, 3 << 20).result(10)


def in_a_stream_of_its_own_for_a_while(torch):
    """As graphs do that torch records: the memory of their pool belongs to the stream they were recorded in."""
    before = torch.cuda.current_stream()
    torch.cuda.set_stream(torch.cuda.Stream())
    made = torch.cuda.take(3 << 20)
    torch.cuda.set_stream(before)
    return made


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("where", [in_a_thread_of_its_own, in_a_stream_of_its_own_for_a_while])
def test_a_model_that_computes_elsewhere_shows_it_by_what_it_holds(gpu, where, kept):
    torch = gpu()
    told = enforce_gpu(QUARTER, torch)
    weights, made = torch.cuda.take(1 << 30), where(torch)
    if not kept:
        del made  # of a batch that has ended: the allocator has its memory still
    [after] = checked(told, QUARTER, torch)
    assert not after.enforced and after.asked == "0.25" and "32 of 132" in after.how
    assert "; 4 MiB are held by 1 of the model's streams outside it" in after.how and weights


def test_a_model_that_moves_its_thread_to_another_stream_is_not_held(gpu):
    torch = gpu()
    told = enforce_gpu(QUARTER, torch)
    in_the_default_stream(torch)
    [after] = checked(told, QUARTER, torch)
    assert not after.enforced and after.how.endswith("the model has set a stream outside it for its thread")


def test_what_is_in_the_default_stream_is_outside_though_a_green_context_is_current_in_this_thread(gpu):
    """The driver tells this thread's context of it, but other threads, with other contexts, compute in it too."""
    torch = gpu()
    told = enforce_gpu(QUARTER, torch)
    inside = torch.cuda.current_stream()
    torch.cuda.green_contexts.GreenContext.create(num_sms=32, device_id=1).set_context()
    assert driver.multiprocessors_of(torch.cuda.current_stream().cuda_stream) == 32
    [after] = checked(told, QUARTER, torch)
    assert not after.enforced and after.how.endswith("the model has set a stream outside it for its thread")
    with ThreadPoolExecutor(1) as own:
        made = own.submit(torch.cuda.take, 3 << 20).result(10)
    torch.cuda.set_stream(inside)
    [after] = checked(told, QUARTER, torch)
    assert not after.enforced and "4 MiB are held by 1 of the model's streams outside it" in after.how and made


NONE = "torch 2.13.0 has no green contexts with streams"


def refusing(error):
    def given(asked):
        raise error

    return FakeCuda(given=given)


def without(green):
    cuda = FakeCuda()
    cuda.green_contexts = green
    return cuda


@pytest.mark.parametrize(
    ("cuda", "why"),
    [
        (without(None), NONE),
        (without(SimpleNamespace(SUPPORTED=False)), NONE),
        (without(SimpleNamespace(SUPPORTED=True, GreenContext=object)), NONE),
        (refusing(RuntimeError("driver too old\nframes")), "no green context can be made: driver too old"),
        (refusing(RuntimeError()), "no green context can be made: RuntimeError"),
    ],
)
def test_what_cannot_be_confined_says_why_and_what_would_help(gpu, cuda, why):
    gpu()
    torch = FakeTorch(cuda)
    [told] = enforce_gpu(QUARTER, torch)
    assert not told.enforced and told.asked == "0.25" and not torch.cuda.current_stream().green
    assert why in told.how and "nvidia-cuda-mps-control" in told.how and "frames" not in told.how
    with pytest.raises(CannotConfine, match=why):
        confine(0.25, torch)


def no_library():
    raise OSError("libcuda.so.1: cannot open shared object file")


@pytest.mark.parametrize(
    ("library", "why"),
    [
        (no_library, "CUDA's driver cannot be asked: libcuda.so.1: cannot open"),
        (object, "CUDA's driver cannot be asked: 'object' object has no attribute 'cuStreamGetGreenCtx'"),
        (lambda: SimpleNamespace(cuStreamGetGreenCtx=lambda *args: 801), "CUDA's driver answered with error 801"),
    ],
)
def test_a_share_that_the_device_does_not_confirm_is_not_said_to_be_enforced(gpu, monkeypatch, library, why):
    torch = gpu()
    monkeypatch.setattr(driver, "library", library)
    [told] = enforce_gpu(QUARTER, torch)
    assert not told.enforced and f"whether a green context holds cannot be seen: {why}" in told.how


def test_the_driver_tells_multiprocessors_of_green_streams_only(gpu):
    torch = gpu()
    with pytest.raises(driver.CannotAsk, match="belongs to no green context"):
        driver.multiprocessors_of(torch.cuda.Stream().cuda_stream)
    with pytest.raises(driver.CannotAsk, match="answered with error 1"):
        driver.multiprocessors_of(12345)
    torch.cuda.synchronize()
    context = torch.cuda.green_contexts.GreenContext.create(num_sms=48, device_id=1)
    assert driver.multiprocessors_of(context.Stream().cuda_stream) == 48


@pytest.mark.parametrize(
    ("share", "total", "capability", "count"),
    [
        (0.5, 108, 8, 54),
        (0.25, 108, 8, 26),  # 27 is as near to 28: then the smaller
        (0.01, 108, 8, 4),  # never less than there can be
        (0.5, 132, 9, 64),  # 66 is nearer to 64 than to 72
        (0.99, 132, 9, 128),
        (0.999, 134, 9, 134),  # 136 are not there
        (0.1, 132, 10, 16),
        (0.5, 40, 7, 20),
        (0.33, 40, 7, 14),
        (0.33, 10, 6, 3),
        (0.01, 10, 6, 1),
    ],
)
def test_a_share_is_the_nearest_number_of_multiprocessors_that_there_can_be(share, total, capability, count):
    assert multiprocessors(share, total, capability) == count
