"""The counters of one replica: batches, busy time, CPU, memory, GPU and queue, read as `Usage`."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from serve_deployments.device.load_processes import LoadProcesses
from serve_deployments.device.nvml import opened
from serve_deployments.device.other_work import OtherWork, busy_s, stolen_s
from serve_deployments.device.process_tree import ProcessTree
from serve_deployments.resources.usage import RECENT, BatchTime, Usage

_GPU_PERIOD_S = 1.0
"""Sampling period. NVML's utilisation covers the last 1/6 s to 1 s, depending on the product; reading it more often
would count some of the time twice."""


class Processes(Protocol):
    """The processes of a replica."""

    def cpu_s(self) -> float:
        """CPU seconds that all of them have used so far; never less than before."""
        ...

    def memory_bytes(self) -> int:
        """Memory of all of them."""
        ...

    def waited_s(self) -> float:
        """Seconds that their threads have been ready to run so far without a core; infinity where not known."""
        ...


class Meter:
    """Counts the resource use of one replica. All calls must come from one thread.

    Args:
        processes: the replica's processes; by default the current one, and those that it starts from now on.
        nvml: NVML's module (`pynvml`); None if there is no GPU.
        gpu_uuid: UUID of the GPU as NVML spells it ("GPU-…"). Not an index: CUDA counts only the GPUs in
            CUDA_VISIBLE_DEVICES, NVML counts all.
        now: monotonic clock, in seconds.
        core_busy_s: returns the CPU seconds that each core of the machine has been busy so far.
        core_stolen_s: returns those of them that a hypervisor has taken.
        load_s: see `OtherWork`; by default of the processes on this machine that send load.
    """

    def __init__(
        self,
        processes: Processes | None = None,
        *,
        nvml: Any = None,
        gpu_uuid: str | None = None,
        now: Callable[[], float] = time.monotonic,
        core_busy_s: Callable[[], list[float]] = busy_s,
        core_stolen_s: Callable[[], list[float]] = stolen_s,
        load_s: Callable[[Collection[int]], float] | None = None,
    ) -> None:
        self._processes, self._now = processes or ProcessTree(), now
        self._nvml = nvml
        self._gpu = None if nvml is None or gpu_uuid is None else opened(nvml, gpu_uuid)
        self._batches: Counter[int] = Counter()
        self._recent: deque[BatchTime] = deque(maxlen=RECENT)
        self._busy_s = self._gpu_busy_s = self._gpu_seen_s = 0.0
        self._queue = self._queue_most = self._running = 0
        self._started_s = self._sampled_s = self._counted_s = now()
        self._cpu_before_s = self._processes.cpu_s()
        waited_s = self._processes.waited_s
        self._others = OtherWork(
            self._processes.cpu_s, core_busy_s, now, waited_s=waited_s, stolen_s=core_stolen_s,
            load_s=load_s or LoadProcesses().used_s,
        )  # fmt: skip

    def pinned(self, cores: Iterable[int]) -> None:
        """Sets the cores that the process is pinned to from now on; empty: it is not pinned."""
        self._others.watch(cores)

    @contextmanager
    def running(self, size: int, *, alone: bool = True) -> Iterator[None]:
        """Counts a call of `size` requests that runs in the context; time in which two overlap counts once.

        Args:
            size: number of requests.
            alone: False: it is one of many calls at the same time, so that its own seconds say nothing of the next
                one's, and it is left out of `Usage.recent`.
        """
        if not self._running:
            self._counted_s = self._now()
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
            before_s, self._counted_s = self._counted_s, self._now()
            self.batch(size, self._counted_s - before_s, alone=alone)

    def batch(self, size: int, seconds: float, *, alone: bool = True) -> None:
        """Counts a batch of `size` requests that took `seconds`, without time already counted for another batch."""
        self._batches[size] += 1
        if alone:
            self._recent.append(BatchTime(size, seconds))
        self._busy_s += seconds
        self._sample_gpu()

    def queued(self, requests: int) -> None:
        """Sets the number of requests that wait for a batch now."""
        self._queue = requests
        self._queue_most = max(self._queue_most, requests)

    def read(self) -> Usage:
        """The usage since the start; the maximum of the queue is that since the previous reading, and is reset."""
        lost = self._others.read()
        reading = Usage(
            seconds=self._now() - self._started_s,
            batches=dict(self._batches),
            busy_s=self._busy_s,
            cpu_s=self._processes.cpu_s() - self._cpu_before_s,
            gpu_busy_s=self._gpu_busy_s,
            gpu_seen_s=self._gpu_seen_s,
            memory_bytes=self._processes.memory_bytes(),
            gpu_memory_bytes=self._gpu_memory_bytes(),
            queue=self._queue,
            queue_most=self._queue_most,
            others_s=lost.others_s,
            cores_s=lost.cores_s,
            load_s=lost.load_s,
            recent=tuple(self._recent),
        )
        self._queue_most = self._queue
        return reading

    def close(self) -> None:
        """Shuts NVML down."""
        if self._gpu is not None:
            self._gpu = None
            self._nvml.nvmlShutdown()

    def _sample_gpu(self) -> None:
        """Adds NVML's utilisation of its last period, once a period has passed since the last sample."""
        now_s = self._now()
        if self._gpu is None or now_s - self._sampled_s < _GPU_PERIOD_S:
            return
        self._sampled_s = now_s
        try:
            utilisation = self._nvml.nvmlDeviceGetUtilizationRates(self._gpu).gpu / 100.0
        except self._nvml.NVMLError:  # not available while MIG is on
            return
        # NVML's own period, not the time since the last sample: the utilisation in between is not known.
        self._gpu_busy_s += utilisation * _GPU_PERIOD_S
        self._gpu_seen_s += _GPU_PERIOD_S

    def _gpu_memory_bytes(self) -> int | None:
        if self._gpu is None:
            return None
        try:
            return int(self._nvml.nvmlDeviceGetMemoryInfo(self._gpu).used)
        except self._nvml.NVMLError:
            return None


def meter_of(device: str, processes: Processes | None = None) -> Meter:
    """Creates the meter of a replica's processes, whose model runs on "cpu" or on "cuda", their only GPU."""
    if device == "cpu":
        return Meter(processes)
    import pynvml
    import torch

    uuid = getattr(torch.cuda.get_device_properties(0), "uuid", None)  # ROCm's builds of torch have none
    return Meter(processes, nvml=pynvml, gpu_uuid=None if uuid is None else f"GPU-{uuid}")
