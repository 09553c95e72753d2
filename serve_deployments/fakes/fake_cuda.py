"""A fake GPU behind the part of `torch.cuda` that a replica's limits use; it refuses what that refuses."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

_SEGMENT = 2 << 20  # torch's allocator takes device memory in multiples of this (kLargeBuffer's granularity)


class OutOfMemoryError(RuntimeError):
    """As torch's, by name and words."""


class FakeTensor:
    """Device memory that is given back to the allocator once nobody refers to it."""


class FakeStream:
    """A stream.

    Args:
        handle: its `cuda_stream`; 0 for the default stream.
        multiprocessors: number of those on which its work runs.
        green: whether it belongs to a green context.
    """

    def __init__(self, handle: int, multiprocessors: int, green: bool) -> None:
        self.cuda_stream, self.multiprocessors, self.green = handle, multiprocessors, green


class FakeGreenContext:
    """A green context with its streams, which are destroyed with it, as torch's are."""

    def __init__(self, cuda: FakeCuda, multiprocessors: int) -> None:
        self._cuda, self.multiprocessors = cuda, multiprocessors

    def Stream(self) -> FakeStream:
        """A new stream."""
        stream = self._cuda.new_stream(self.multiprocessors, green=True)
        weakref.finalize(self, self._cuda.streams.pop, stream.cuda_stream, None)
        return stream

    def set_context(self) -> None:
        """Makes it this thread's current context, and the default stream its current stream, as torch does."""
        self._cuda.make_current(self)


class FakeCuda:
    """`torch.cuda` of a process with one GPU: its second, so that a number of a device is never 0 by chance.

    Args:
        total_bytes: memory of the GPU.
        others_bytes: memory that other processes have of it.
        multiprocessors: number of its multiprocessors.
        major: first digit of its compute capability.
        holds: whether a cap on memory has an effect, as it has none with PYTORCH_NO_CUDA_MEMORY_CACHING.
        given: multiprocessors asked for → those that a green context has; raises what torch raises.
        context_bytes: memory that CUDA takes for this process once it uses the GPU.
        has_nvml: whether NVML tells what is in use.
        mps: whether this process is a client of MPS; None: the driver is too old to tell.
        uuid: UUID of the GPU without NVML's prefix; None: torch does not know it.
    """

    device = 1

    def __init__(
        self,
        total_bytes: int = 16 << 30,
        others_bytes: int = 0,
        multiprocessors: int = 132,
        major: int = 9,
        *,
        holds: bool = True,
        given: Callable[[int], int] = lambda asked: asked,
        context_bytes: int = 0,
        has_nvml: bool = True,
        mps: bool | None = None,
        uuid: str | None = None,
    ) -> None:
        self.total_bytes, self.others_bytes, self._holds, self._given = total_bytes, others_bytes, holds, given
        self.properties = SimpleNamespace(
            multi_processor_count=multiprocessors,
            major=major,
            minor=0,
            total_memory=total_bytes,
            name="fake",
            uuid=uuid,
        )
        self.context_bytes, self.has_nvml, self.mps = context_bytes, has_nvml, mps
        self.streams: dict[int, FakeStream] = {0: FakeStream(0, multiprocessors, green=False)}
        self.segments: list[dict[str, int]] = []
        self.fraction = 1.0
        self.created: list[int] = []
        self._begun = False
        self._current = threading.local()
        self.green_contexts = SimpleNamespace(
            SUPPORTED=True, GreenContext=SimpleNamespace(create=self._create, Stream=None)
        )

    def is_available(self) -> bool:
        """There is a GPU."""
        return True

    def current_device(self) -> int:
        """Its number."""
        return self.device

    def get_device_properties(self, device: Any) -> SimpleNamespace:
        """Its properties."""
        if device != self.device:
            raise AssertionError("Invalid device id")
        return self.properties

    def synchronize(self) -> None:
        """Creates the device's context, as any first use of it does."""
        self._begun = True

    def set_per_process_memory_fraction(self, fraction: float) -> None:
        """Caps what is taken from now on; what is held already is not looked at."""
        if not isinstance(fraction, float):
            raise TypeError("Invalid type for fraction argument, must be `float`")
        if not 0 <= fraction <= 1:
            raise ValueError(f"Invalid fraction value: {fraction}. Allowed range: 0~1")
        self._begun, self.fraction = True, fraction

    def mem_get_info(self) -> tuple[int, int]:
        """Free and total bytes of the GPU, all processes counted."""
        self._begun = True
        return self.total_bytes - self._used_bytes(), self.total_bytes

    def device_memory_used(self) -> int:
        """Bytes of the GPU in use, all processes counted, as NVML tells them; does not use the GPU."""
        if not self.has_nvml:
            raise ModuleNotFoundError("nvidia-ml-py does not seem to be installed or it can't be imported.")
        return self._used_bytes()

    def _used_bytes(self) -> int:
        return self.others_bytes + self.memory_reserved() + (self.context_bytes if self._begun else 0)

    def memory_reserved(self) -> int:
        """Bytes that the allocator of this process has, used or not."""
        return sum(segment["total_size"] for segment in self.segments)

    def memory_snapshot(self) -> list[dict[str, int]]:
        """The segments of the allocator, each with the stream that it belongs to."""
        return [dict(segment) for segment in self.segments]

    def empty_cache(self) -> None:
        """Gives back the segments that nothing uses."""
        self.segments = [segment for segment in self.segments if segment["allocated_size"]]

    def reset_peak_memory_stats(self) -> None:
        """Does nothing here."""

    def current_stream(self) -> FakeStream:
        """This thread's stream: the default one until it sets another."""
        stream: FakeStream = getattr(self._current, "stream", self.streams[0])
        return stream

    def default_stream(self) -> FakeStream:
        """The default stream, whose work has all multiprocessors."""
        return self.streams[0]

    def set_stream(self, stream: FakeStream) -> None:
        """Makes it this thread's current stream."""
        self._current.stream = stream

    def make_current(self, context: FakeGreenContext) -> None:
        """Makes a green context this thread's current one."""
        self._current.context = context
        self.set_stream(self.default_stream())

    @property
    def current_green(self) -> FakeGreenContext | None:
        """This thread's current context, if it is a green one."""
        context: FakeGreenContext | None = getattr(self._current, "context", None)
        return context

    def Stream(self) -> FakeStream:
        """A new stream of torch's pool, whose work has all multiprocessors."""
        return self.new_stream(self.properties.multi_processor_count, green=False)

    def new_stream(self, multiprocessors: int, *, green: bool) -> FakeStream:
        """A new stream whose work runs on so many multiprocessors."""
        handle = 0x1000 + 16 * len(self.streams)
        self.streams[handle] = FakeStream(handle, multiprocessors, green)
        return self.streams[handle]

    def take(self, size_bytes: int) -> FakeTensor:
        """Allocates device memory in the current stream; raises OutOfMemoryError beyond the cap or the device."""
        self._begun = True
        size = -(-size_bytes // _SEGMENT) * _SEGMENT
        stream = self.current_stream().cuda_stream
        for segment in self.segments:
            if segment["stream"] == stream and not segment["allocated_size"] and segment["total_size"] >= size:
                break
        else:
            if not self._fits(size):
                self.empty_cache()
            if not self._fits(size):
                raise OutOfMemoryError(f"CUDA out of memory. Tried to allocate {size / 2**30:.2f} GiB.")
            segment = {"stream": stream, "total_size": size, "allocated_size": 0}
            self.segments.append(segment)
        segment["allocated_size"] = size
        tensor = FakeTensor()
        weakref.finalize(tensor, segment.__setitem__, "allocated_size", 0)
        return tensor

    def _fits(self, size: int) -> bool:
        cap = int(self.fraction * self.total_bytes) if self._holds else self.total_bytes
        return self.memory_reserved() + size <= cap and size <= self.mem_get_info()[0]

    def _create(self, *, num_sms: int, device_id: int) -> FakeGreenContext:
        if not self._begun:
            raise RuntimeError("the device has no context yet")
        self.get_device_properties(device_id)
        count = self._given(num_sms)
        self.created.append(num_sms)
        return FakeGreenContext(self, count)
