"""What a hosted model does to a GPU: which device it is on, when that is emptied, what is left after a failure."""

import asyncio
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import torch

from serve_deployments.device.gpu import driver, outside, share
from serve_deployments.fakes.fake_cuda import FakeCuda
from serve_deployments.fakes.fake_driver import FakeDriver
from serve_deployments.models.model import Builder
from serve_deployments.replicas import hosting
from serve_deployments.replicas.hosting import HostedModel, NotRebuilt
from serve_deployments.resources.enforcement import Enforcement, corrected
from serve_deployments.settings import Settings

GIB = 2**30


def where(device):
    return lambda payloads: [device] * len(payloads)


@pytest.fixture
def a_gpu(monkeypatch):
    """What a replica does to torch.cuda on a machine that has a GPU: one that refuses what torch refuses."""
    calls: list[object] = []

    def fraction(value):
        if not isinstance(value, float):
            raise TypeError("Invalid type for fraction argument, must be `float`")
        calls.append(value)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: calls.append("empty"))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", fraction)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (16 * GIB, 16 * GIB))
    monkeypatch.setattr(outside, "_found", 0)  # of what CUDA itself takes
    return calls


@pytest.mark.parametrize(
    ("settings", "device", "fractions"),
    [
        (Settings(emulated=True), "cpu", []),  # a GPU that torch sees is not one that was asked for
        (Settings(emulated=True, gpu_type="T4"), "cuda", []),
        (Settings(emulated=True, gpu_type="T4", gpu_memory=0.25), "cuda", [0.25]),
        (Settings(emulated=True, gpu_type="T4", gpu_memory=1), "cuda", [1.0]),  # as YAML has it
    ],
)
def test_the_device_is_the_one_that_was_asked_for(a_gpu, settings, device, fractions):
    host = HostedModel(Builder(f"{__name__}:where"))
    asyncio.run(host.take_on(settings))
    assert host.device == device and asyncio.run(host(["x"])) == [device]
    assert [call for call in a_gpu if call != "empty"] == fractions


def test_a_gpu_is_emptied_of_the_old_model_before_the_next_one_is_built(a_gpu, monkeypatch):
    """There may be no room for two."""
    there: list[weakref.ref] = []

    def built(model):
        a_gpu.append(f"built beside {sum(ref() is not None for ref in there)}")
        there.append(weakref.ref(model))

    monkeypatch.setattr(Heavy, "built", built)
    host = HostedModel(Builder(f"{__name__}:heavy"))
    for precision in ("float32", "bfloat16", "bfloat16", "float16"):
        asyncio.run(host.take_on(Settings(emulated=True, precision=precision)))
    anew = ["empty", "empty", "built beside 0"]
    assert a_gpu == [*anew, *anew, "empty", *anew] and sum(ref() is not None for ref in there) == 1


CUDA = FakeCuda()


@pytest.fixture
def card(monkeypatch):
    """torch.cuda of a machine with a GPU of 16 GiB, by the books of a fake that refuses what torch refuses."""
    cuda = FakeCuda()
    monkeypatch.setitem(globals(), "CUDA", cuda)
    for name in (
        "is_available empty_cache set_per_process_memory_fraction memory_reserved mem_get_info "
        "reset_peak_memory_stats current_stream default_stream set_stream memory_snapshot synchronize "
        "current_device get_device_properties green_contexts"
    ).split():
        monkeypatch.setattr(torch.cuda, name, getattr(cuda, name))
    real = torch.empty

    def empty(*sizes, device=None, **how):
        return cuda.take(*sizes) if device == "cuda" else real(*sizes, device=device, **how)

    monkeypatch.setattr(torch, "empty", empty)
    monkeypatch.setattr(driver, "library", lambda: FakeDriver(cuda))
    monkeypatch.setattr(share, "_held", {})
    monkeypatch.setattr(share, "_now", [])
    monkeypatch.setattr(outside, "_found", 0)
    return cuda


def recorded():
    """A model with 2 GiB of weights that keeps the 4 GiB of its first batch, as one with CUDA graphs does."""
    kept = [CUDA.take(2 * GIB)]

    def batch(payloads):
        if len(kept) == 1:
            kept.append(CUDA.take(4 * GIB))
        return payloads

    return batch


WHOLE, QUARTER = (Settings(emulated=True, gpu_type="T4", gpu_memory=part) for part in (1.0, 0.25))


def test_a_model_that_holds_more_than_a_lower_cap_is_built_again_under_it(card):
    """Torch looks at a cap when more memory is asked for: the live model would answer with 6 GiB under a cap of 4."""
    live = HostedModel(Builder(f"{__name__}:recorded"), ["x"])
    asyncio.run(live.take_on(WHOLE))
    assert card.memory_reserved() == 6 * GIB
    with pytest.raises(RuntimeError, match="CUDA out of memory. Tried to allocate 4.00 GiB"):
        asyncio.run(live.take_on(QUARTER))
    assert live.out_of_memory is not None and card.memory_reserved() <= 4 * GIB
    assert WHOLE.placement() != QUARTER.placement()  # a trial has a new replica for it anyway


def test_a_model_that_holds_less_than_a_lower_cap_lives_on(card):
    live = HostedModel(Builder(f"{__name__}:recorded"), ["x"])
    asyncio.run(live.take_on(WHOLE))
    before = [segment for segment in card.segments if segment["allocated_size"]]
    asyncio.run(live.take_on(replace(QUARTER, gpu_memory=0.5)))
    assert asyncio.run(live(["x"])) == ["x"] and card.fraction == 0.5
    assert all(any(segment is each for each in card.segments) for segment in before)


def test_a_process_that_holds_too_much_without_a_model_wants_to_be_replaced(card):
    live = HostedModel(Builder(f"{__name__}:recorded"), ["x"])
    asyncio.run(live.take_on(WHOLE))
    leaked = card.take(5 * GIB)
    with pytest.raises(NotRebuilt, match="5.00 GiB are held, more than the 4.00 GiB .*; a new replica is needed"):
        asyncio.run(live.take_on(QUARTER))
    assert leaked


def parallel():
    """As `model.build`: computes in the threads in which it is called, and says where."""

    def batch(payloads):
        return [CUDA.current_stream().multiprocessors for _ in payloads]

    return batch


async def elsewhere():
    """The same in threads of asyncio's."""

    async def batch(payloads):
        return await asyncio.to_thread(parallel(), payloads)

    return batch


@pytest.mark.parametrize("concurrent", [False, True])
@pytest.mark.parametrize("build", [parallel, elsewhere])
def test_all_threads_that_a_replica_calls_a_model_in_are_held_to_its_share(card, build, concurrent):
    async def run():
        host = HostedModel(Builder(f"{__name__}:{build.__name__}", concurrent=concurrent), ["x"])
        await host.take_on(Settings(emulated=True, gpu_type="H100", gpu_share=0.25))
        return await asyncio.gather(*(host(["x"]) for _ in range(4 if concurrent else 1))), host.told()

    answers, told = asyncio.run(run())
    assert {count for [count] in answers} == {32}
    [share_of] = [each for each in told if each.limit == "gpu_share"]
    assert share_of.enforced and "32 of 132" in share_of.how


def own_thread():
    """As `model.build`: computes in a thread that it starts, as engines do."""
    own = ThreadPoolExecutor(1)
    held = []

    def batch(payloads):
        held.append(own.submit(CUDA.take, GIB).result(10))
        return payloads

    return batch


def test_a_share_is_not_said_to_be_enforced_for_a_model_that_computes_in_its_own_thread(card):
    host = HostedModel(Builder(f"{__name__}:own_thread"), ["x"])
    asyncio.run(host.take_on(Settings(emulated=True, gpu_type="H100", gpu_share=0.25)))
    [told] = [each for each in host.told() if each.limit == "gpu_share"]
    assert not told.enforced and "held by 1 of the model's streams outside it" in told.how


def with_stream(cuda_stream=None):
    return lambda payloads: [cuda_stream] * len(payloads)


def test_a_builder_is_told_the_stream_of_its_share(card):
    """For libraries that compute in a stream of their own otherwise, as ONNX Runtime does."""

    def answer(settings):
        host = HostedModel(Builder(f"{__name__}:with_stream"))
        asyncio.run(host.take_on(settings))
        return asyncio.run(host(["x"]))[0]

    stream = answer(Settings(emulated=True, gpu_type="H100", gpu_share=0.25))
    assert card.streams[stream].multiprocessors == 32
    assert answer(Settings(emulated=True, gpu_type="H100")) is None
    card.mps = True
    assert answer(Settings(emulated=True, gpu_type="H100", gpu_share=0.25)) is None


def test_what_a_model_says_of_a_limit_counts_only_where_the_process_holds_to_it():
    held = Enforcement("gpu_memory", "0.25", True, "by torch")
    not_held = Enforcement("gpu_share", "0.5", False, "no green contexts")
    own = Enforcement("gpu_memory", "", False, "an arena of its own")
    stream = Enforcement("gpu_share", "", False, "a stream of its own")
    graphs = Enforcement("cuda_graphs", "True", True, "3 recorded")
    assert corrected((held, not_held), (own, stream, graphs)) == (replace(own, asked="0.25"), not_held, graphs)
    assert corrected((held,), (graphs,)) == (held, graphs)


class Heavy:
    """A model that knows itself, as modules of torch with hooks do, so that only collecting frees it."""

    built: Any = None

    def __init__(self):
        self.me = self
        self.built()

    def begin(self, payloads):
        return payloads

    finish = __call__ = begin


def heavy(precision):
    return Heavy()


def moody():
    def answer(payloads):
        if payloads == ["full"]:
            raise MemoryError("full is too much\nmore")
        raise ValueError(payloads[0])

    return answer


def test_after_a_batch_that_did_not_fit_on_a_gpu_the_gpu_is_as_before(monkeypatch):
    cleaned = []
    monkeypatch.setattr(hosting, "clean_after", lambda error, torch: cleaned.append(str(error)))
    host = HostedModel(Builder(f"{__name__}:moody"))
    asyncio.run(host.take_on(Settings(emulated=True)))
    with pytest.raises(MemoryError):
        asyncio.run(host(["full"]))
    assert cleaned == []
    host.device = "cuda"
    with pytest.raises(MemoryError):
        asyncio.run(host(["full"]))
    with pytest.raises(ValueError):
        asyncio.run(host(["bad"]))
    assert cleaned == ["full is too much\nmore"] and host.out_of_memory == "full is too much"
