"""The counters of one replica: batches, time busy, CPU, memory, GPU and queue, read as `Usage`."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil

from serve_deployments.device.other_work import OtherWork, busy_s
from serve_deployments.usage import RECENT, Batch, Usage

_GPU_PERIOD_S = 1.0
"""NVML's utilisation is that of the last 1/6 s to 1 s, by product; reading it more often would count some twice."""


class Meter:
    """Counts what one replica does. All calls from one thread.

    Args:
        process: the replica's own; anything with `cpu_times()` and `memory_info()` as psutil has them.
        nvml: NVML's module (`pynvml`); None: there is no GPU to ask about.
        gpu_uuid: the GPU's, as NVML spells it ("GPU-…"). By UUID, because an index counts what
            CUDA_VISIBLE_DEVICES leaves, and NVML counts all.
        now: seconds of a clock that never goes back.
        core_busy_s: CPU seconds that each core of the machine has been busy so far.
    """

    def __init__(
        self,
        process: Any = None,
        *,
        nvml: Any = None,
        gpu_uuid: str | None = None,
        now: Callable[[], float] = time.monotonic,
        core_busy_s: Callable[[], list[float]] = busy_s,
    ) -> None:
        self._process, self._now = process or psutil.Process(), now
        self._nvml = nvml
        self._gpu = None if nvml is None or gpu_uuid is None else _opened(nvml, gpu_uuid)
        self._batches: Counter[int] = Counter()
        self._recent: deque[Batch] = deque(maxlen=RECENT)
        self._busy_s = self._gpu_busy_s = self._gpu_seen_s = 0.0
        self._queue = self._queue_most = self._running = 0
        self._started_s = self._sampled_s = self._counted_s = now()
        self._cpu_before_s = self._cpu_s()
        self._others = OtherWork(self._cpu_s, core_busy_s, now)

    def pinned(self, cores: Iterable[int]) -> None:
        """The process has these cores from now on; none: it is on those of all."""
        self._others.watch(cores)

    @contextmanager
    def running(self, size: int) -> Iterator[None]:
        """A batch for as long as the model runs it; time in which two run counts once."""
        if not self._running:
            self._counted_s = self._now()
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
            before_s, self._counted_s = self._counted_s, self._now()
            self.batch(size, self._counted_s - before_s)

    def batch(self, size: int, seconds: float) -> None:
        """The model ran a batch of `size` requests in `seconds`, those in which another one ran not counted."""
        self._batches[size] += 1
        self._recent.append(Batch(size, seconds))
        self._busy_s += seconds
        self._sample_gpu()

    def queued(self, requests: int) -> None:
        """So many requests wait for a batch now."""
        self._queue = requests
        self._queue_most = max(self._queue_most, requests)

    def read(self) -> Usage:
        """Everything since the start. The maximum of the queue starts anew: each reading has its own."""
        others_s, cores_s = self._others.read()
        reading = Usage(
            seconds=self._now() - self._started_s,
            batches=dict(self._batches),
            busy_s=self._busy_s,
            cpu_s=self._cpu_s() - self._cpu_before_s,
            gpu_busy_s=self._gpu_busy_s,
            gpu_seen_s=self._gpu_seen_s,
            memory_bytes=self._process.memory_info().rss,
            gpu_memory_bytes=self._gpu_memory_bytes(),
            queue=self._queue,
            queue_most=self._queue_most,
            others_s=others_s,
            cores_s=cores_s,
            recent=tuple(self._recent),
        )
        self._queue_most = self._queue
        return reading

    def close(self) -> None:
        """Let go of NVML."""
        if self._gpu is not None:
            self._gpu = None
            self._nvml.nvmlShutdown()

    def _cpu_s(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def _sample_gpu(self) -> None:
        """Adds what NVML says of its last period, once that is over."""
        now_s = self._now()
        if self._gpu is None or now_s - self._sampled_s < _GPU_PERIOD_S:
            return
        self._sampled_s = now_s
        try:
            utilisation = self._nvml.nvmlDeviceGetUtilizationRates(self._gpu).gpu / 100.0
        except self._nvml.NVMLError:  # not kept while MIG is on
            return
        # Its own period, not the time since the last sample: what was between is not known.
        self._gpu_busy_s += utilisation * _GPU_PERIOD_S
        self._gpu_seen_s += _GPU_PERIOD_S

    def _gpu_memory_bytes(self) -> int | None:
        if self._gpu is None:
            return None
        try:
            return int(self._nvml.nvmlDeviceGetMemoryInfo(self._gpu).used)
        except self._nvml.NVMLError:
            return None


def meter_of(device: str) -> Meter:
    """The meter of this process, whose model runs on "cpu" or on "cuda", its only GPU."""
    if device == "cpu":
        return Meter()
    import pynvml
    import torch

    uuid = getattr(torch.cuda.get_device_properties(0), "uuid", None)  # ROCm's builds of torch have none
    return Meter(nvml=pynvml, gpu_uuid=None if uuid is None else f"GPU-{uuid}")


def _opened(nvml: Any, uuid: str) -> Any:
    """NVML's handle of a GPU, NVML left open; None, and closed, where there is no driver or no such GPU."""
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return None
    try:
        return nvml.nvmlDeviceGetHandleByUUID(uuid)
    except nvml.NVMLError:
        nvml.nvmlShutdown()
        return None
