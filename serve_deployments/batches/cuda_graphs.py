"""A model's kernels, recorded once for each shape of a batch and replayed.

Launching a kernel costs the CPU some microseconds, and a small transformer has hundreds of them: at small batches the
GPU waits for the CPU. A graph is launched in one call. It reads and writes fixed addresses, so each has an input and an
output buffer of its own, and a copy within the device's memory moves the data to and fro.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import torch

from serve_deployments.batches.accelerator import Accelerator, Stream
from serve_deployments.batches.batch_parts import Tensors
from serve_deployments.batches.packing import Layout
from serve_deployments.enforcement import Enforcement

MOST = 256
"""Graphs kept; our choice, by `packing.bucket`: all shapes of up to 64 texts of up to 512 tokens. Their scratch memory
is shared, so one more costs its kernels' parameters and two small buffers."""

_WARM_UPS = 2
"""Runs before a capture, beside the one that answers the batch: three in all, as in torch's notes on CUDA graphs."""

Room = Callable[[int], torch.Tensor]
"""So many bytes on the device."""


@dataclass(frozen=True)
class _Graph:
    replay: Callable[[], None]
    given: torch.Tensor
    made: torch.Tensor
    outputs: Layout


def run_packed(forward: Callable[[Tensors], Tensors], layout: Layout, given: torch.Tensor, room: Room) -> Layout:
    """The model on packed tensors; its outputs are packed into the room.

    Returns:
        How the outputs lie there.
    """
    made = forward(layout.views(given))
    outputs = Layout.of(made)
    outputs.write(room(outputs.size_bytes), made)
    return outputs


class Graphs:
    """The model as graphs, the least recently used thrown away.

    The first failure to record ends recording: it fails on what a model does, not on a shape, and each attempt costs.
    Out of memory ends it too; what was recorded stays in use.

    Args:
        forward: the model.
        accelerator: the device.
        stream: in which it computes; current at every call.
        most: graphs to keep.
    """

    def __init__(
        self, forward: Callable[[Tensors], Tensors], accelerator: Accelerator, stream: Stream, most: int = MOST
    ) -> None:
        self._forward = forward
        self._accelerator = accelerator
        self._stream = stream
        self._most = most
        self._kept: OrderedDict[Layout, _Graph] = OrderedDict()
        self._recorded = self._replayed = self._without = 0
        self._failure: str | None = None

    def __call__(self, layout: Layout, given: torch.Tensor, room: Room) -> Layout:
        """As `run_packed`; a shape is recorded when it is first seen."""
        graph = self._kept.get(layout)
        if graph is None:
            outputs = run_packed(self._forward, layout, given, room)
            self._without += 1
            if self._failure is None:
                self._record(layout, given, outputs)
            return outputs
        self._kept.move_to_end(layout)
        self._accelerator.copy(graph.given, given[: layout.size_bytes])
        graph.replay()
        self._accelerator.copy(room(graph.outputs.size_bytes)[: graph.outputs.size_bytes], graph.made)
        self._replayed += 1
        return graph.outputs

    def told(self) -> Enforcement:
        """What became of the wish for graphs."""
        how = f"{self._recorded} recorded, {self._replayed} batches replayed, {self._without} run without"
        if self._failure is not None:
            how += f"; recording failed: {self._failure}"
        return Enforcement("cuda_graphs", "True", self._failure is None, how)

    def _record(self, layout: Layout, given: torch.Tensor, outputs: Layout) -> None:
        while len(self._kept) >= self._most:
            self._kept.popitem(last=False)
        try:
            kept = self._accelerator.memory(layout.size_bytes)
            self._accelerator.copy(kept, given[: layout.size_bytes])  # real data: an index has to be in range
            made = self._accelerator.memory(outputs.size_bytes)

            def once() -> None:
                outputs.write(made, self._forward(layout.views(kept)))

            for _ in range(_WARM_UPS):
                once()
            self._kept[layout] = _Graph(self._accelerator.capture(once, self._stream), kept, made, outputs)
            self._recorded += 1
        except Exception as error:  # whatever a model does that cannot be recorded, it can be run
            self._failure = f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), '')}"
