"""Batches on a GPU: pinned buffers, one copy each way, and copies of one batch that overlap with computing another.

    copy in   | batch 1 |         | batch 2 |
    compute             | batch 1 .......... | batch 2 ..........
    copy out                                 | batch 1 |

Three streams: with one stream for both directions, the copy in of batch 2 would wait behind the copy out of batch 1,
which waits for the computing of batch 1. Two sets of buffers: one batch computes while another is copied.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from serve_deployments.batches import kept_on_device
from serve_deployments.batches.accelerator import Accelerator, Stream
from serve_deployments.batches.batch_parts import Parts
from serve_deployments.batches.cuda_graphs import Graphs, run_packed
from serve_deployments.batches.packing import Layout, first_sizes
from serve_deployments.batches.shapes import batches_of, combinations, shapes_of
from serve_deployments.endpoint import Payload
from serve_deployments.resources.enforcement import Enforcement

IN_FLIGHT = 2
"""Largest number of batches in progress. A third would only wait longer, with its requests fixed earlier."""


class _Growing:
    """A buffer that is reallocated when it is too small, with a size that is a power of two.

    Args:
        make: allocates so many bytes.
    """

    def __init__(self, make: Callable[[int], torch.Tensor]) -> None:
        self._make = make
        self._buffer: torch.Tensor | None = None

    def __call__(self, size_bytes: int) -> torch.Tensor:
        if self._buffer is None or self._buffer.numel() < size_bytes:
            self._buffer = None  # freed first, as both together might not fit
            self._buffer = self._make(1 << max(0, size_bytes - 1).bit_length())
        return self._buffer


class _Slot:
    """The buffers and events of one batch: on the host and on the device, for inputs and outputs."""

    def __init__(self, accelerator: Accelerator, copy_in: Stream, compute: Stream) -> None:
        def memory_of(stream: Stream) -> Callable[[int], torch.Tensor]:
            # Allocated in the stream that writes it. The allocator hands out memory that its stream still uses, as
            # later work in that stream waits anyway; another stream would write into it too early.
            def make(size_bytes: int) -> torch.Tensor:
                with accelerator.on(stream):
                    return accelerator.memory(size_bytes)

            return make

        self.host_in = _Growing(accelerator.staging)
        self.device_in = _Growing(memory_of(copy_in))
        self.device_out = _Growing(memory_of(compute))
        self.host_out = _Growing(accelerator.staging)
        self.came, self.computed, self.left = accelerator.event(), accelerator.event(), accelerator.event()


@dataclass(frozen=True)
class Begun:
    """A batch in progress.

    Args:
        slot: its buffers.
        outputs: layout of its outputs in the buffers.
        payloads: number of its payloads.
        rows: number of rows of the tensors from `collate`.
        filled: number of rows with the padding.
    """

    slot: _Slot
    outputs: Layout
    payloads: int
    rows: int
    filled: int


class DeviceBatches:
    """Runs a model's batches on a device: by `begin` and `finish` to overlap batches, or by a call for a single one.

    Must be created in the thread that will call `begin`, as CUDA's current stream is per thread.

    Args:
        parts: the model.
        accelerator: the device.
        cuda_graphs: whether to record the model's kernels.
        told: further records of whether and how options took effect.
        every_size: whether the model has a one-time cost for each new batch size.
    """

    def __init__(
        self,
        parts: Parts,
        accelerator: Accelerator,
        *,
        cuda_graphs: bool = False,
        told: Sequence[Enforcement] = (),
        every_size: bool = False,
    ) -> None:
        self.parts = parts
        self._accelerator = accelerator
        self._copy_in, self._copy_out = accelerator.copy_stream(), accelerator.copy_stream()
        self._compute = accelerator.compute_stream()
        self._graphs = Graphs(parts.forward, accelerator, self._compute) if cuda_graphs else None
        self._free = self._slots()
        self._told = tuple(told)
        # Recording a graph is a one-time cost too, which must not occur under load, where it would be measured.
        self._every_size = every_size or cuda_graphs
        kept_on_device.add(self)

    def __call__(self, payloads: list[Payload]) -> list[Any]:
        """Runs one batch, from payloads to results."""
        return self.finish(self.begin(payloads))

    def begin(self, payloads: list[Payload]) -> Begun:
        """Collates a batch and starts the copy in, the computing and the copy out.

        Raises:
            RuntimeError: `IN_FLIGHT` batches are in progress already.
        """
        with torch.inference_mode():
            tensors = self.parts.collate(payloads)
            if not self._free:
                raise RuntimeError(
                    f"{IN_FLIGHT} batches are already in progress; call finish() before the next begin()"
                )
            slot = self._free.popleft()
            try:
                layout, rows, filled = self._bring(slot, tensors)
                outputs = self._run(slot, layout)
                self._fetch(slot, outputs)
            except BaseException:
                for stream in (self._copy_in, self._compute, self._copy_out):
                    stream.synchronize()  # nothing may read or write the buffers any more
                self._free.append(slot)
                raise
            return Begun(slot, outputs, len(payloads), rows, filled)

    def finish(self, begun: Begun) -> list[Any]:
        """Waits for a batch and returns its results, which do not refer to any buffer.

        Raises:
            ValueError: `split` returned another number of results than there were payloads.
        """
        with torch.inference_mode():
            try:
                begun.slot.left.synchronize()
                views = begun.outputs.views(begun.slot.host_out(begun.outputs.size_bytes))
                tensors = {name: _without_filling(view, begun).clone() for name, view in views.items()}
            finally:
                self._free.append(begun.slot)
            results = self.parts.split(tensors)
        if len(results) != begun.payloads:
            raise ValueError(f"`split` gave {len(results)} results for {begun.payloads} payloads; one each is needed")
        return results

    def first_sizes(self, max_batch_size: int) -> Sequence[int]:
        """Batch sizes to run before any load, the largest first."""
        return first_sizes(max_batch_size, every_size=self._every_size)

    def shapes(
        self, samples: Iterable[Payload], max_batch_size: int, enough: Callable[[], bool]
    ) -> Sequence[tuple[int, ...]]:
        """Numbers of the samples of each batch to run before any load, so that no new shape is recorded under it.

        Args:
            samples: payloads that the model may write to.
            max_batch_size: largest batch size.
            enough: whether to leave out the rest of the samples, as looking at them takes too long.
        """
        if self._graphs is None:
            return ()
        most = self._graphs.most
        combined = combinations(shapes_of(self.parts, samples, enough), max_batch_size, most)
        return batches_of(combined, self.first_sizes(max_batch_size))[:most]

    def record(self, on: bool) -> None:
        """Whether CUDA graphs are recorded of shapes that are seen for the first time."""
        if self._graphs is not None:
            self._graphs.recording = on

    def give_up(self) -> None:
        """Frees the buffers and graphs; they are made again when they are needed.

        Raises:
            RuntimeError: a batch is in progress.
        """
        if len(self._free) < IN_FLIGHT:
            raise RuntimeError("a batch is in progress; call finish() before buffers are given up")
        self._free = self._slots()
        if self._graphs is not None:
            self._graphs.forget()

    @property
    def spoilt(self) -> str | None:
        """Why this process must take on no other settings and models; None if it may."""
        return None if self._graphs is None else self._graphs.spoilt

    def told(self) -> tuple[Enforcement, ...]:
        """Records of whether and how the model's options took effect."""
        return self._told if self._graphs is None else (*self._told, self._graphs.told())

    def _slots(self) -> deque[_Slot]:
        return deque(_Slot(self._accelerator, self._copy_in, self._compute) for _ in range(IN_FLIGHT))

    def _bring(self, slot: _Slot, tensors: dict[str, torch.Tensor]) -> tuple[Layout, int, int]:
        """Packs the inputs and starts the copy in; returns the layout, and the rows without and with padding."""
        layout = Layout.of(tensors)
        rows = filled = len(next(iter(tensors.values())))
        if self._graphs is not None:
            layout = layout.filled(rows, self.parts.filling, self.parts.longest)
            filled = layout.places[0].shape[0]
        size = layout.size_bytes
        host, device = slot.host_in(size), slot.device_in(size)
        layout.write(host, tensors, self.parts.filling)
        with self._accelerator.on(self._copy_in):
            self._accelerator.copy(device[:size], host[:size])
        self._copy_in.record_event(slot.came)
        return layout, rows, filled

    def _run(self, slot: _Slot, layout: Layout) -> Layout:
        given = slot.device_in(layout.size_bytes)
        self._compute.wait_event(slot.came)
        with self._accelerator.on(self._compute):
            if self._graphs is not None:
                outputs = self._graphs(layout, given, slot.device_out)
            else:
                outputs = run_packed(self.parts.forward, layout, given, slot.device_out)
        self._compute.record_event(slot.computed)
        return outputs

    def _fetch(self, slot: _Slot, outputs: Layout) -> None:
        size = outputs.size_bytes
        host, device = slot.host_out(size), slot.device_out(size)
        self._copy_out.wait_event(slot.computed)
        with self._accelerator.on(self._copy_out):
            self._accelerator.copy(host[:size], device[:size])
        self._copy_out.record_event(slot.left)


def _without_filling(tensor: torch.Tensor, begun: Begun) -> torch.Tensor:
    return tensor[: begun.rows] if tensor.shape[:1] == (begun.filled,) else tensor
