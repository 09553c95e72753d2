"""CUDA graphs of a model: its kernels, recorded once for each shape of a batch and replayed.

Launching a kernel costs the CPU some microseconds, and a small transformer has hundreds of them: with small batches the
GPU waits for the CPU. A graph is launched in one call. It reads and writes fixed addresses, so each graph has its own
input and output buffers, and copies within the device's memory move the data in and out.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import torch

from serve_deployments.batches.accelerator import Accelerator, Stream
from serve_deployments.batches.batch_parts import Tensors
from serve_deployments.batches.packing import Layout
from serve_deployments.endpoint import first_line
from serve_deployments.resources.enforcement import Enforcement

MOST = 256
"""Largest number of graphs kept; our choice, by `packing.bucket`: all shapes of up to 64 texts of up to 512 tokens.
Their scratch memory is shared, so one more costs its kernels' parameters and two small buffers."""

_WARM_UPS = 2
"""Runs before a capture, besides the one that answers the batch: three in all, as in torch's notes on CUDA graphs."""

Room = Callable[[int], torch.Tensor]
"""Number of bytes → a buffer on the device of that size or more."""


@dataclass(frozen=True)
class _Graph:
    replay: Callable[[], None]
    given: torch.Tensor
    made: torch.Tensor
    outputs: Layout


def run_packed(forward: Callable[[Tensors], Tensors], layout: Layout, given: torch.Tensor, room: Room) -> Layout:
    """Runs the model on packed tensors and packs its outputs.

    Args:
        forward: the model.
        layout: layout of the inputs.
        given: buffer with the inputs.
        room: provides the buffer for the outputs.

    Returns:
        Layout of the outputs in that buffer.
    """
    made = forward(layout.views(given))
    outputs = Layout.of(made)
    outputs.write(room(outputs.size_bytes), made)
    return outputs


class Graphs:
    """Runs a model by CUDA graphs, of which the least recently used are discarded.

    The first failure to record ends all recording: it is caused by what the model does, not by a shape, and each
    attempt takes time. Running out of memory ends it too; graphs recorded before stay in use.

    `recording` says whether a shape that is seen for the first time is recorded; it takes many times as long as a run,
    so that it is switched off while a load is measured.

    `spoilt` says why this process must record nothing any more, None if it may. After a recording that failed torch
    gives back neither its pool nor its entry for it, which then refers to memory that is used otherwise.

    Args:
        forward: the model.
        accelerator: the device.
        stream: stream in which the model computes; must be current at every call.
        most: largest number of graphs to keep.
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
        self.recording = True
        self.spoilt: str | None = None

    def __call__(self, layout: Layout, given: torch.Tensor, room: Room) -> Layout:
        """Like `run_packed`; a shape is recorded when it is first seen, and replayed from then on."""
        graph = self._kept.get(layout)
        if graph is None:
            outputs = run_packed(self._forward, layout, given, room)
            self._without += 1
            if self.recording and self._failure is None:
                self._record(layout, given, outputs)
            return outputs
        self._kept.move_to_end(layout)
        self._accelerator.copy(graph.given, given[: layout.size_bytes])
        graph.replay()
        self._accelerator.copy(room(graph.outputs.size_bytes)[: graph.outputs.size_bytes], graph.made)
        self._replayed += 1
        return graph.outputs

    def told(self) -> Enforcement:
        """Whether graphs could be recorded, and how many were recorded and replayed."""
        how = f"{self._recorded} recorded, {self._replayed} batches replayed, {self._without} run without"
        if self._failure is not None:
            how += f"; recording failed: {self._failure}"
        return Enforcement("cuda_graphs", "True", self._failure is None, how)

    @property
    def most(self) -> int:
        """Largest number of graphs that are kept."""
        return self._most

    def forget(self) -> None:
        """Discards all graphs with their memory: they compute what the model was when they were recorded."""
        self._kept.clear()
        self._recorded = self._replayed = self._without = 0
        if self.spoilt is None:  # else there may be work in the pool that torch counts as being recorded still
            self._accelerator.forget_recordings()
            self._failure = None

    def _record(self, layout: Layout, given: torch.Tensor, outputs: Layout) -> None:
        while len(self._kept) >= self._most:
            self._kept.popitem(last=False)
        try:
            kept = self._accelerator.memory(layout.size_bytes)
            self._accelerator.copy(kept, given[: layout.size_bytes])  # real data, as indices have to be in range
            made = self._accelerator.memory(outputs.size_bytes)

            def once() -> None:
                outputs.write(made, self._forward(layout.views(kept)))

            for _ in range(_WARM_UPS):
                once()
            self._kept[layout] = _Graph(self._captured(once), kept, made, outputs)
            self._recorded += 1
        except Exception as error:  # a model that cannot be recorded can still be run
            self._failure = first_line(_at_first(error))

    def _captured(self, once: Callable[[], None]) -> Callable[[], None]:
        try:
            return self._accelerator.capture(once, self._stream)
        except BaseException:
            self.spoilt = "a CUDA graph could not be recorded, and torch keeps its memory until the process ends"
            raise


def _at_first(error: BaseException) -> BaseException:
    """The error that came first: a recording in which something was raised fails once more when it is ended."""
    while error.__context__ is not None:
        error = error.__context__
    return error
