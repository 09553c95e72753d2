"""What a hosted model does to a GPU: which device it is on, when that is emptied, what is left after a failure."""

import asyncio
import gc
import weakref
from typing import Any

import pytest
import torch

from serve_deployments.models.model import Builder
from serve_deployments.replicas import hosting
from serve_deployments.replicas.hosting import HostedModel
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
    gc.freeze()  # what is there already need not be gone through each time
    yield calls
    gc.unfreeze()


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


class Card:
    """A GPU's memory as torch hands it out: the cap is looked at when more is asked for, and never again."""

    def __init__(self, total_gib):
        self.total, self.cap, self.held = total_gib * GIB, total_gib * GIB, 0

    def set_fraction(self, fraction):
        self.cap = fraction * self.total

    def take(self, size):
        if self.held + size > self.cap:
            raise torch.OutOfMemoryError(f"{size / GIB:g} GiB more than {self.held / GIB:g} of {self.cap / GIB:g}")
        self.held += size


CARD = Card(16)


def recorded():
    """A model with 2 GiB of weights that keeps the 4 GiB of its first batch, as one with CUDA graphs does."""
    CARD.take(2 * GIB)
    kept: list[None] = []

    def batch(payloads):
        if not kept:
            CARD.take(4 * GIB)
            kept.append(None)
        return payloads

    return batch


def test_a_live_model_is_not_held_to_a_lower_cap_so_another_cap_needs_another_replica(a_gpu, monkeypatch):
    whole, half = (Settings(emulated=True, gpu_type="T4", gpu_memory=part) for part in (1.0, 0.25))

    def new():
        monkeypatch.setitem(globals(), "CARD", Card(16))
        monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda f: CARD.set_fraction(f))
        monkeypatch.setattr(hosting, "clean_after", lambda error, torch: None)
        return HostedModel(Builder(f"{__name__}:recorded"), ["x"])

    with pytest.raises(torch.OutOfMemoryError, match="4 GiB more than 2 of 4"):
        asyncio.run(new().take_on(half))
    live = new()
    asyncio.run(live.take_on(whole))
    asyncio.run(live.take_on(half))  # and it answers, with 6 GiB under a cap of 4
    assert asyncio.run(live(["x"])) == ["x"] and CARD.held > CARD.cap
    assert whole.placement() != half.placement()


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
