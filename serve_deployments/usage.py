"""What a replica did while it was measured: batches formed, time busy, CPU, memory, GPU, queue; and others beside it.

A `Meter` belongs to a replica and counts from its start; the difference of two readings is a level's share.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple, Self

import psutil

from serve_deployments.device.other_work import OtherWork, busy_s

_GPU_PERIOD_S = 1.0
"""NVML's utilisation is that of the last 1/6 s to 1 s, by product; reading it more often would count some twice."""

RECENT = 1000
"""Batches that a reading tells one by one. Our choice: their mean time is then known to a thirtieth of its spread, and
a reading is some 20 kB."""

KEPT = 32
"""Of them, evenly spaced, that a record keeps: enough, with those of other levels, to foretell latencies later."""


class Batch(NamedTuple):
    """One call of the model: how many requests it was for, and what it took."""

    size: int
    seconds: float


@dataclass(frozen=True)
class Usage:
    """A reading of a `Meter`: counters since its start, or since an earlier reading, and gauges of now.

    Args:
        seconds: counted over so many.
        batches: size of a batch → how many were run.
        busy_s: seconds in which the model ran, of batches one after the other.
        cpu_s: CPU seconds of the process, all its threads.
        gpu_busy_s: seconds in which a kernel ran on the GPU, whoever's it was: NVML's utilisation summed over
            `gpu_seen_s`. Sampled as batches end, so an idle replica adds nothing to either.
        gpu_seen_s: seconds that NVML's samples stand for; 0 without a GPU, or where NVML does not tell (MIG).
        memory_bytes: resident memory of the process, now.
        gpu_memory_bytes: in use on the whole GPU, now; None without one. A process's own part is not told
            inside containers, where NVML does not know the process by its number.
        queue: requests that wait for a batch, now.
        queue_most: the most that waited at once since the reading before.
        others_s: CPU seconds that other processes had of the cores that the replica is pinned to.
        cores_s: over so many seconds of cores, each counted; 0 where it is not pinned, or nobody tells.
        recent: size and seconds of each of the last batches, in their order, `RECENT` at most; of these `KEPT` in JSON.
    """

    seconds: float = 0.0
    batches: Mapping[int, int] = field(default_factory=dict)
    busy_s: float = 0.0
    cpu_s: float = 0.0
    gpu_busy_s: float = 0.0
    gpu_seen_s: float = 0.0
    memory_bytes: int = 0
    gpu_memory_bytes: int | None = None
    queue: int = 0
    queue_most: int = 0
    others_s: float = 0.0
    cores_s: float = 0.0
    recent: tuple[Batch, ...] = ()

    def __post_init__(self) -> None:
        for name in (*_COUNTERS, "memory_bytes", "queue", "queue_most"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}")
        if any(size < 1 or count < 1 for size, count in self.batches.items()):
            raise ValueError(f"batches have sizes and counts of 1 or more, got {dict(self.batches)}")

    def since(self, earlier: Usage) -> Usage:
        """What was done between an earlier reading of the same meter and this one; gauges are this one's.

        Raises:
            ValueError: `earlier` is of another meter, or not earlier.
        """
        left = Counter(self.batches)
        left.subtract(earlier.batches)
        counters = {name: getattr(self, name) - getattr(earlier, name) for name in _COUNTERS}
        if min(*counters.values(), *left.values()) < 0:
            raise ValueError("the reading to subtract counted more than this one: it is later, or another replica's")
        since = self.recent[max(0, len(self.recent) - sum(left.values())) :]
        return replace(self, **counters, batches=dict(+left), recent=since)

    @property
    def mean_batch(self) -> float | None:
        """Requests in a batch on average; None if there was no batch."""
        count = sum(self.batches.values())
        return sum(size * n for size, n in self.batches.items()) / count if count else None

    @property
    def busy_share(self) -> float | None:
        """Part of the time in which the model ran; None over no time."""
        return self.busy_s / self.seconds if self.seconds else None

    @property
    def cpu_cores(self) -> float | None:
        """Cores in use on average; None over no time."""
        return self.cpu_s / self.seconds if self.seconds else None

    @property
    def gpu_utilisation(self) -> float | None:
        """Part of the time in which a kernel ran, 0 to 1; None where NVML did not tell."""
        return self.gpu_busy_s / self.gpu_seen_s if self.gpu_seen_s else None

    def as_dict(self) -> dict[str, Any]:
        """For JSON, whose keys are texts."""
        table = {f.name: getattr(self, f.name) for f in fields(self)}
        every = max(1, -(-len(self.recent) // KEPT))
        kept = [[batch.size, float(f"{batch.seconds:.4g}")] for batch in self.recent[::every]]
        return {
            **table, "batches": {str(size): count for size, count in sorted(self.batches.items())}, "recent": kept,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Self:
        """The inverse of `as_dict`."""
        batches = {int(size): count for size, count in table["batches"].items()}
        recent = tuple(Batch(*batch) for batch in table.get("recent", ()))
        return cls(**{**table, "batches": batches, "recent": recent})


_COUNTERS = ("seconds", "busy_s", "cpu_s", "gpu_busy_s", "gpu_seen_s", "others_s", "cores_s")


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
        handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        found = [handle for handle in handles if _text(nvml.nvmlDeviceGetUUID(handle)) == uuid]
    except nvml.NVMLError:
        found = []
    if not found:
        nvml.nvmlShutdown()
        return None
    return found[0]


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value  # older NVML bindings answer in bytes
