"""A GPU's share without MPS, and its memory after a batch that did not fit: against fakes of torch."""

import asyncio
import weakref
from types import SimpleNamespace
from typing import Any

import pytest

from serve_deployments.device import gpu_share
from serve_deployments.device.gpu_memory import clean_after
from serve_deployments.device.gpu_share import CannotConfine, confine, multiprocessors
from serve_deployments.device.limits import enforce_gpu
from serve_deployments.models.model import Builder
from serve_deployments.replicas import hosting
from serve_deployments.settings import Settings


class GreenTorch:
    """The part of torch that a share touches: a GPU of 132 multiprocessors."""

    __version__ = "2.13.0"

    def __init__(self, fails=None, **absent):
        self.calls: list[tuple] = []

        def create(**asked):
            self.calls.append(("create", asked))
            if fails is not None:
                raise fails
            return SimpleNamespace(Stream=lambda: "the stream of the part")

        context = SimpleNamespace(create=create, Stream=None)
        green = SimpleNamespace(SUPPORTED=True, GreenContext=context)
        self.cuda = SimpleNamespace(
            is_available=lambda: True, current_device=lambda: 0, synchronize=lambda: None, green_contexts=green,
            get_device_properties=lambda device: SimpleNamespace(multi_processor_count=132, major=9),
            set_stream=lambda stream: self.calls.append(("set_stream", stream)),
        )  # fmt: skip
        vars(self.cuda).update(absent)


QUARTER = Settings(gpu_type="H100", gpu_share=0.25)


@pytest.fixture(autouse=True)
def a_new_process(monkeypatch):
    """No share is held yet."""
    monkeypatch.setattr(gpu_share, "_held", {})


def test_a_replica_that_is_changed_keeps_its_share():
    torch = GreenTorch()
    assert enforce_gpu(QUARTER, torch) == enforce_gpu(QUARTER, torch)
    assert [name for name, _ in torch.calls].count("create") == 1


def test_a_share_is_a_part_of_the_multiprocessors_and_the_thread_computes_there():
    torch = GreenTorch()
    [told] = enforce_gpu(QUARTER, torch)
    assert told.enforced and told.how == "green context, 32 of 132 multiprocessors (24 %) for the model's thread"
    assert torch.calls == [
        ("create", {"num_sms": 32, "device_id": 0}), ("set_stream", "the stream of the part"),
    ]  # fmt: skip


def test_mps_goes_first():
    torch = GreenTorch()
    [told] = enforce_gpu(Settings(gpu_type="H100", gpu_share=0.25, mps=True), torch)
    assert told.enforced and "MPS" in told.how and torch.calls == []


@pytest.mark.parametrize(
    ("torch", "why"),
    [
        (GreenTorch(green_contexts=None), "torch 2.13.0 has no green contexts"),
        (GreenTorch(green_contexts=SimpleNamespace(SUPPORTED=False)), "torch 2.13.0 has no green contexts"),
        (GreenTorch(fails=RuntimeError("driver too old\nframes")), "no green context can be made: driver too old"),
    ],
)
def test_what_cannot_be_confined_says_why_and_what_would_help(torch, why):
    [told] = enforce_gpu(QUARTER, torch)
    assert not told.enforced and why in told.how and "nvidia-cuda-mps-control" in told.how
    with pytest.raises(CannotConfine, match=why):
        confine(0.25, torch)


def test_parts_come_in_the_steps_of_the_hardware():
    assert [multiprocessors(share, 132, 9) for share in (0.01, 0.25, 0.5, 0.99)] == [8, 32, 64, 128]
    assert [multiprocessors(share, 40, 7) for share in (0.01, 0.25, 0.5)] == [2, 10, 20]  # a T4
    assert [multiprocessors(share, 108, 8) for share in (0.01, 0.25, 0.5)] == [4, 26, 54]  # an A100, 25 % being 27


class Big:
    """Stands in for a tensor of the batch that did not fit."""


class OutOfMemoryError(RuntimeError):
    """Of torch's name."""


class MemoryTorch:
    """The part of torch that cleaning touches; remembers whether the batch's tensors were gone by then."""

    def __init__(self):
        self.calls: list[tuple] = []
        self.cuda = SimpleNamespace(
            is_available=lambda: True,
            empty_cache=lambda: self.calls.append(("empty_cache", Model.last() is None)),
            reset_peak_memory_stats=lambda: self.calls.append(("reset_peak_memory_stats", True)),
            memory_reserved=lambda: 7,
        )


class Model:
    """Its batch takes memory, then there is none left."""

    last: Any = staticmethod(lambda: None)

    def __call__(self, payloads):
        tensor = Big()
        Model.last = weakref.ref(tensor)
        return self.deeper(tensor)

    def deeper(self, tensor):
        try:
            raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        except OutOfMemoryError as error:
            raise OutOfMemoryError(f"{error} in a batch") from error


def build():
    """As `model.build`."""
    return Model()


def test_the_device_is_clean_though_the_error_lives_on():
    torch = MemoryTorch()
    with pytest.raises(OutOfMemoryError) as caught:
        Model()([1])
    assert Model.last() is not None
    assert clean_after(caught.value, torch) == 7
    assert torch.calls == [("empty_cache", True), ("reset_peak_memory_stats", True)]
    assert "2.00 GiB" in str(caught.value)


def test_a_replica_that_runs_out_of_memory_says_so_and_cleans_up(monkeypatch):
    cleaned = []
    monkeypatch.setattr(hosting, "clean_after", lambda error, torch: cleaned.append(str(error)))

    async def run():
        model = hosting.HostedModel(Builder(f"{__name__}:build"))
        await model.take_on(Settings(emulated=True))
        model.device = "cuda"
        with pytest.raises(OutOfMemoryError):
            await model([1])
        return model.out_of_memory

    assert asyncio.run(run()) == "CUDA out of memory. Tried to allocate 2.00 GiB in a batch" == cleaned[0]
