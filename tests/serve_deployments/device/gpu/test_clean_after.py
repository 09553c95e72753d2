"""A GPU is clean after a batch that did not fit, though the error lives on: by fakes of torch."""

import gc
import weakref
from types import SimpleNamespace

import pytest

from serve_deployments.device.gpu.memory import clean_after


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

    def hidden(self, tensor):
        try:
            self.deeper()
        except MemoryError:
            raise RuntimeError("2 GiB do not fit") from None

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
    yield
    gc.enable()


@pytest.mark.parametrize(
    ("way", "tensors"), [("plain", 1), ("caused", 2), ("meanwhile", 2), ("both", 2), ("hidden", 2), ("cycle", 2)]
)
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
