"""The little of CUDA that running batches needs, behind a seam: `fake_accelerator` stands in where there is no GPU."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch


class Event(Protocol):
    """A point in a stream's work."""

    def synchronize(self) -> None:
        """Waits in this thread until the work before the point is done."""
        ...


class Stream(Protocol):
    """Work that runs in order, beside that of other streams."""

    def wait_event(self, event: Any) -> None:
        """What comes later in this stream waits for the event; the caller does not."""
        ...

    def record_event(self, event: Any) -> Any:
        """Sets the event after all that is in the stream now."""
        ...

    def synchronize(self) -> None:
        """Waits in this thread until all that is in the stream now is done."""
        ...


class Accelerator(Protocol):
    """A device with memory of its own and streams."""

    def staging(self, size_bytes: int) -> torch.Tensor:
        """Bytes on the host that the device can copy from and to while the CPU goes on."""
        ...

    def memory(self, size_bytes: int) -> torch.Tensor:
        """Bytes on the device; they belong to the stream that is current."""
        ...

    def compute_stream(self) -> Stream:
        """Where to compute: this thread's stream if it was given one of its own, else a new one."""
        ...

    def copy_stream(self) -> Stream:
        """A new stream, for copies."""
        ...

    def on(self, stream: Any) -> AbstractContextManager[Any]:
        """Makes a stream the current one."""
        ...

    def event(self) -> Event:
        """A new event."""
        ...

    def copy(self, target: torch.Tensor, source: torch.Tensor) -> None:
        """Copies in the current stream; the caller does not wait."""
        ...

    def capture(self, run: Callable[[], None], stream: Any) -> Callable[[], None]:
        """Records what `run` puts into the stream, without running it → what runs all of it again.

        Raises:
            Exception: it cannot be recorded.
        """
        ...


class Cuda:
    """A GPU, by torch.

    Args:
        device: "cuda" or "cuda:N".
    """

    def __init__(self, device: str = "cuda") -> None:
        self._device = torch.device(device)
        self._pool: Any = None  # graphs never run at once, so they can share their scratch memory

    def staging(self, size_bytes: int) -> torch.Tensor:
        """Page-locked memory."""
        return torch.empty(size_bytes, dtype=torch.uint8, pin_memory=True)

    def memory(self, size_bytes: int) -> torch.Tensor:
        """Of torch's allocator, so that the cap on this process holds."""
        return torch.empty(size_bytes, dtype=torch.uint8, device=self._device)

    def compute_stream(self) -> Stream:
        """A green context's stream stays: its kernels run on its share of the multiprocessors alone."""
        current = torch.cuda.current_stream(self._device)
        default = torch.cuda.default_stream(self._device)
        # The default stream can neither be captured nor overlap with others.
        stream = torch.cuda.Stream(self._device) if current == default else current
        stream.wait_stream(default)  # the weights may still be on their way
        return stream

    def copy_stream(self) -> Stream:
        """One of torch's pool."""
        stream: Stream = torch.cuda.Stream(self._device)
        return stream

    def on(self, stream: Any) -> AbstractContextManager[Any]:
        """As `torch.cuda.stream`."""
        context: AbstractContextManager[Any] = torch.cuda.stream(stream)
        return context

    def event(self) -> Event:
        """Whoever waits for it sleeps: a waiter that spins would take a core that the replica was given for work."""
        event: Event = torch.cuda.Event(blocking=True)
        return event

    def copy(self, target: torch.Tensor, source: torch.Tensor) -> None:
        """Asynchronous, as the host's side is page-locked."""
        target.copy_(source, non_blocking=True)

    def capture(self, run: Callable[[], None], stream: Any) -> Callable[[], None]:
        """By `torch.cuda.graph`."""
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        try:
            # thread_local: another thread may be waiting for the batch before, which is no business of the capture.
            with torch.cuda.graph(graph, pool=self._pool, stream=stream, capture_error_mode="thread_local"):
                run()
        except BaseException:
            self._pool = None  # what a failed capture leaves in it is not to be built on
            raise
        replay: Callable[[], None] = graph.replay
        return replay
