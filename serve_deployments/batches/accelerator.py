"""The interface to the parts of CUDA that running batches needs; `fake_accelerator` implements it without a GPU."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch

from serve_deployments.device.gpu import share


class Event(Protocol):
    """A point in a stream's work."""

    def synchronize(self) -> None:
        """Blocks this thread until the work before the point is done."""
        ...


class Stream(Protocol):
    """A queue of device work that runs in order, concurrently with other streams."""

    def wait_event(self, event: Any) -> None:
        """Makes later work of this stream wait for the event; does not block the caller."""
        ...

    def record_event(self, event: Any) -> Any:
        """Sets the event after all work that is in the stream now."""
        ...

    def synchronize(self) -> None:
        """Blocks this thread until all work that is in the stream now is done."""
        ...


class Accelerator(Protocol):
    """A device with its own memory and streams."""

    def staging(self, size_bytes: int) -> torch.Tensor:
        """Allocates bytes on the host from and to which the device can copy asynchronously."""
        ...

    def memory(self, size_bytes: int) -> torch.Tensor:
        """Allocates bytes on the device; they belong to the current stream."""
        ...

    def compute_stream(self) -> Stream:
        """The stream to compute in: this thread's current stream if it is not the default stream, else a new one."""
        ...

    def copy_stream(self) -> Stream:
        """A new stream for copies."""
        ...

    def on(self, stream: Any) -> AbstractContextManager[Any]:
        """Makes a stream the current one within the context."""
        ...

    def event(self) -> Event:
        """A new event."""
        ...

    def copy(self, target: torch.Tensor, source: torch.Tensor) -> None:
        """Copies in the current stream; does not block the caller."""
        ...

    def capture(self, run: Callable[[], None], stream: Any) -> Callable[[], None]:
        """Records the work that `run` puts into the stream, without running it; returns a function that replays it.

        Raises:
            Exception: the work cannot be recorded. The allocator of this process may keep what it took for it.
        """
        ...

    def forget_recordings(self) -> None:
        """Frees the scratch memory of all recordings; none of them may be replayed any more."""
        ...


class Cuda:
    """A CUDA GPU, through torch.

    Args:
        device: "cuda" or "cuda:N".
    """

    def __init__(self, device: str = "cuda") -> None:
        self._device = torch.device(device)
        self._pool: Any = None  # graphs never run concurrently, so they can share their scratch memory

    def staging(self, size_bytes: int) -> torch.Tensor:
        """Allocates page-locked memory."""
        return torch.empty(size_bytes, dtype=torch.uint8, pin_memory=True)

    def memory(self, size_bytes: int) -> torch.Tensor:
        """Allocates by torch's allocator, so that the memory cap of this process applies."""
        return torch.empty(size_bytes, dtype=torch.uint8, device=self._device)

    def compute_stream(self) -> Stream:
        """See `Accelerator`; a green context's stream is kept, as its kernels run only on its multiprocessors."""
        current = torch.cuda.current_stream(self._device)
        default = torch.cuda.default_stream(self._device)
        # The default stream can neither be captured nor overlap with others.
        stream = torch.cuda.Stream(self._device) if current == default else current
        stream.wait_stream(default)  # the weights may still be on their way
        return stream

    def copy_stream(self) -> Stream:
        """A stream of the green context if there is one, so that all memory belongs to it; else of torch's pool."""
        stream: Stream = share.new_stream() or torch.cuda.Stream(self._device)
        return stream

    def on(self, stream: Any) -> AbstractContextManager[Any]:
        """The context manager `torch.cuda.stream`."""
        context: AbstractContextManager[Any] = torch.cuda.stream(stream)
        return context

    def event(self) -> Event:
        """A new event whose waiters sleep: a spinning waiter would use up a core that the replica needs for work."""
        event: Event = torch.cuda.Event(blocking=True)
        return event

    def copy(self, target: torch.Tensor, source: torch.Tensor) -> None:
        """Copies asynchronously, as the host's side is page-locked."""
        target.copy_(source, non_blocking=True)

    def capture(self, run: Callable[[], None], stream: Any) -> Callable[[], None]:
        """See `Accelerator`; records by `torch.cuda.graph`."""
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        try:
            # thread_local: another thread may be waiting for the previous batch, which must not break the capture.
            with torch.cuda.graph(graph, pool=self._pool, stream=stream, capture_error_mode="thread_local"):
                run()
        except BaseException:
            self._pool = None  # what a failed capture leaves in it must not be reused
            raise
        replay: Callable[[], None] = graph.replay
        return replay

    def forget_recordings(self) -> None:
        """See `Accelerator`; torch frees a pool once no graph of it is left."""
        self._pool = None
        torch.cuda.empty_cache()
