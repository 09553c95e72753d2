"""A GPU's memory and share are held to; it is clean after a batch that did not fit: by fakes of torch."""

import gc
import weakref
from dataclasses import replace
from types import SimpleNamespace

import pytest

from serve_deployments.device import gpu_share
from serve_deployments.device.gpu_memory import clean_after
from serve_deployments.device.gpu_share import CannotConfine, confine, multiprocessors
from serve_deployments.device.limits import NoDevice, enforce_gpu
from serve_deployments.settings import Settings


class CappedTorch:
    """The part of torch that a cap of memory touches."""

    __version__ = "0.0"

    def __init__(self, available: bool) -> None:
        self.fractions: list[float] = []
        self.cuda = SimpleNamespace(is_available=lambda: available, set_per_process_memory_fraction=self._cap)

    def _cap(self, fraction: float) -> None:
        if not isinstance(fraction, float):
            raise TypeError("Invalid type for fraction argument, must be `float`")
        self.fractions.append(fraction)


GPU = Settings(gpu_type="T4", gpu_memory=0.25, gpu_share=0.5)


def test_gpu_memory_is_capped_and_the_share_is_a_matter_of_mps():
    torch = CappedTorch(available=True)
    memory, share = enforce_gpu(replace(GPU, mps=True), torch)
    assert torch.fractions == [0.25]
    assert memory.enforced and share.enforced
    _, share = enforce_gpu(GPU, torch)
    assert not share.enforced and "MPS does not run" in share.how


def test_the_cpu_never_passes_for_a_gpu():
    with pytest.raises(NoDevice, match="T4 requested, but torch 0.0 sees no CUDA device"):
        enforce_gpu(GPU, CappedTorch(available=False))


def test_of_an_emulated_device_nothing_is_claimed():
    torch = CappedTorch(available=False)
    assert not any(told.enforced for told in enforce_gpu(replace(GPU, emulated=True), torch))
    assert torch.fractions == []
    assert enforce_gpu(Settings(), torch) == ()


def test_a_limit_that_nobody_asked_for_is_not_set():
    torch = CappedTorch(available=True)
    assert enforce_gpu(Settings(gpu_type="T4"), torch) == () and torch.fractions == []
    [memory] = enforce_gpu(Settings(gpu_type="T4", gpu_memory=0.5, gpu_share=1.0), torch)
    assert memory.limit == "gpu_memory" and memory.asked == "0.5" and torch.fractions == [0.5]
    enforce_gpu(Settings(gpu_type="T4", gpu_memory=1), torch)
    assert torch.fractions == [0.5, 1.0]
    assert enforce_gpu(Settings(), CappedTorch(available=False)) == ()


class Part:
    """A green context: a part of the multiprocessors, until nobody holds it."""

    def __init__(self, torch, number):
        self.torch, self.number = torch, number
        torch.alive.add(number)

    def Stream(self):
        return f"stream of part {self.number}"

    def __del__(self):
        self.torch.alive.discard(self.number)


class GreenTorch:
    """The part of torch that a share touches: the second of two GPUs, which has 132 multiprocessors."""

    __version__ = "2.13.0"

    def __init__(self, fails=None, **absent):
        self.calls: list[tuple] = []
        self.alive: set[int] = set()
        self.begun = False

        def create(*, num_sms, device_id):
            if not self.begun:
                raise RuntimeError("the device has no context yet")
            if fails is not None:
                raise fails
            self.calls.append(("create", num_sms, device_id))
            return Part(self, len(self.calls))

        green = SimpleNamespace(SUPPORTED=True, GreenContext=SimpleNamespace(create=create, Stream=None))
        self.cuda = SimpleNamespace(
            is_available=lambda: True, current_device=lambda: 1, synchronize=self.begin, green_contexts=green,
            get_device_properties={1: SimpleNamespace(multi_processor_count=132, major=9)}.__getitem__,
            set_stream=lambda stream: self.calls.append(("set_stream", stream)),
        )  # fmt: skip
        vars(self.cuda).update(absent)

    def begin(self):
        self.begun = True


QUARTER = Settings(gpu_type="H100", gpu_share=0.25)


@pytest.fixture(autouse=True)
def a_new_process(monkeypatch):
    """No share is held yet."""
    monkeypatch.setattr(gpu_share, "_held", {})


def test_a_share_is_a_part_of_the_multiprocessors_and_the_thread_computes_there():
    torch = GreenTorch()
    [told] = enforce_gpu(QUARTER, torch)
    assert told.limit == "gpu_share" and told.asked == "0.25" and told.enforced
    assert told.how == "green context, 32 of 132 multiprocessors (24 %) for the model's thread"
    assert torch.calls == [("create", 32, 1), ("set_stream", "stream of part 1")]


def test_a_share_is_held_as_long_as_the_process_lives_however_often_it_is_asked_for():
    torch = GreenTorch()
    told = [enforce_gpu(settings, torch) for settings in (QUARTER, QUARTER, Settings(gpu_type="H100", gpu_share=0.5))]
    assert told[0] == told[1] != told[2]
    assert [call[1:] for call in torch.calls if call[0] == "create"] == [(32, 1), (64, 1)]
    assert len(torch.alive) == 2


def test_mps_goes_first():
    torch = GreenTorch()
    [told] = enforce_gpu(Settings(gpu_type="H100", gpu_share=0.25, mps=True), torch)
    assert told.enforced and "MPS" in told.how and torch.calls == []


NONE = "torch 2.13.0 has no green contexts with streams"


@pytest.mark.parametrize(
    ("torch", "why"),
    [
        (GreenTorch(green_contexts=None), NONE),
        (GreenTorch(green_contexts=SimpleNamespace(SUPPORTED=False)), NONE),
        (GreenTorch(green_contexts=SimpleNamespace(SUPPORTED=True, GreenContext=object)), NONE),
        (GreenTorch(fails=RuntimeError("driver too old\nframes")), "no green context can be made: driver too old"),
        (GreenTorch(fails=RuntimeError()), "no green context can be made: RuntimeError"),
    ],
)
def test_what_cannot_be_confined_says_why_and_what_would_help(torch, why):
    [told] = enforce_gpu(QUARTER, torch)
    assert not told.enforced and told.asked == "0.25" and torch.calls == []
    assert why in told.how and "nvidia-cuda-mps-control" in told.how and "frames" not in told.how
    with pytest.raises(CannotConfine, match=why):
        confine(0.25, torch)


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


class Tensor:
    """Stands in for one of the batch that did not fit."""


class Failing:
    """A batch that takes memory, and then there is none left; each way keeps another of its tensors alive.

    Args:
        way: how the error comes about.
    """

    def __init__(self, way):
        self.way, self.kept = way, []

    def tensor(self):
        tensor = Tensor()
        self.kept.append(weakref.ref(tensor))
        return tensor

    def __call__(self):
        tensor = self.tensor()
        getattr(self, self.way)(tensor)

    def plain(self, tensor):
        raise MemoryError("2 GiB do not fit")

    def caused(self, tensor):
        try:
            self.deeper()
        except MemoryError as error:
            raise RuntimeError("2 GiB do not fit") from error

    def meanwhile(self, tensor):
        """What is raised while another error is handled has it as its context, and as no cause."""
        try:
            self.deeper()
        except MemoryError:
            raise RuntimeError("2 GiB do not fit")  # noqa: B904

    def both(self, tensor):
        try:
            self.meanwhile(tensor)
        except RuntimeError as error:
            raise ValueError("2 GiB do not fit") from error

    def cycle(self, tensor):
        """As a hook has the module, and the module its hook: counting references alone never frees it."""
        held = self.tensor()
        held.__dict__["me"] = held
        raise MemoryError("2 GiB do not fit")

    def deeper(self):
        held = self.tensor()
        raise MemoryError(f"no room beside {type(held).__name__}")


@pytest.fixture
def nothing_is_collected_by_chance():
    gc.disable()
    gc.freeze()  # and what is there already need not be gone through
    yield
    gc.unfreeze()
    gc.enable()


@pytest.mark.parametrize(("way", "tensors"), [("plain", 1), ("caused", 2), ("meanwhile", 2), ("both", 2), ("cycle", 2)])
def test_after_a_batch_that_did_not_fit_the_device_is_clean_though_the_error_lives_on(
    way, tensors, nothing_is_collected_by_chance
):
    batch, calls = Failing(way), []

    def noted(name):
        calls.append((name, [ref() for ref in batch.kept]))

    cuda = SimpleNamespace(
        is_available=lambda: True,
        empty_cache=lambda: noted("empty_cache"),
        reset_peak_memory_stats=lambda: noted("reset_peak_memory_stats"),
        memory_reserved=lambda: 7,
    )
    with pytest.raises((MemoryError, RuntimeError, ValueError)) as caught:
        batch()
    assert len(batch.kept) == tensors and batch.kept[0]() is not None
    assert clean_after(caught.value, SimpleNamespace(cuda=cuda)) == 7
    gone = [None] * tensors
    assert calls == [("empty_cache", gone), ("reset_peak_memory_stats", gone)]
    assert str(caught.value) == "2 GiB do not fit" and caught.value.__traceback__ is not None


def test_where_there_is_no_gpu_nothing_of_it_is_kept():
    assert clean_after(MemoryError(), SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: False))) == 0
