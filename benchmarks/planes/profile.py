"""Counts the hardware demands of a model, its FLOP, bytes and kernels, without computing anything.

The model runs twice on torch's meta device, which only knows shapes. FLOP are torch's own count (products and
convolutions, a multiply-add is two). Kernels are the operations that write memory, before torch splits them into
smaller ones: a dense layer, an attention or a whole LSTM is one kernel.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.planes.models.catalogue import PlaneModel
from cluster.emulated.roofline import ModelProfile

# A bare loop has no pre- or post-processing, but a profile needs a figure above 0; a nanosecond is negligible.
NO_CPU_S = 1e-9


class _Traffic(TorchDispatchMode):
    """Sums the bytes that operations read and write, without weights; also the largest operation's, and the kernels."""

    def __init__(self, weights: Sequence[torch.Tensor]) -> None:
        super().__init__()
        self._weights = {_storage(w) for w in weights}
        self.bytes, self.largest, self.kernels = 0, 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        read = {_storage(t): t for t in _tensors((args, *(kwargs or {}).values()))}
        written = [t for t in _tensors(result) if _storage(t) not in read]
        if written:  # otherwise a view, another shape of the same memory
            moved = [t for s, t in read.items() if s not in self._weights] + written
            size = sum(t.numel() * t.element_size() for t in moved)
            self.bytes, self.largest, self.kernels = self.bytes + size, max(self.largest, size), self.kernels + 1
        return result


def _storage(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _tensors(tree: Any) -> Iterator[torch.Tensor]:
    if isinstance(tree, torch.Tensor):
        yield tree
    elif isinstance(tree, list | tuple):
        for branch in tree:
            yield from _tensors(branch)


@cache
def profile(model: PlaneModel) -> ModelProfile:
    """The model's profile: figures per item, bytes at float32."""
    with torch.device("meta"):
        net, inputs = model.build().eval(), model.sample(1)
        weights = [*net.parameters(), *net.buffers()]
        with torch.no_grad(), FlopCounterMode(display=False) as flops:
            net(*inputs)
        with torch.inference_mode(), _Traffic(weights) as traffic:
            net(*inputs)
    return ModelProfile(
        name=model.name,
        family=model.family,
        flops=flops.get_total_flops(),
        weight_bytes=sum(w.numel() * w.element_size() for w in net.parameters()),
        activation_bytes=traffic.largest,
        traffic_bytes=traffic.bytes,
        kernels=traffic.kernels,
        cpu_s=NO_CPU_S,
        source="counted on torch's meta device",
    )


def facts(model: PlaneModel) -> dict[str, float]:
    """Facts known of the model before its first trial, without those that are 0."""
    counted = profile(model)
    known = {
        "gflop_per_item": counted.flops / 1e9,
        "parameters_million": counted.weight_bytes / 4e6,
        "traffic_mb_per_item": counted.traffic_bytes / 1e6,
        "kernels": counted.kernels,
        "input_tokens": model.input_tokens,
        "input_pixels": model.input_pixels,
    }
    return {name: round(value, 6) for name, value in known.items() if value}
