"""Resource use of a replica while it was measured: batches, busy time, CPU, memory, GPU, queue, other processes.

Each replica has a `Meter` that counts from its start; the difference of two readings is the usage of a level.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

RECENT = 1000
"""Largest number of batches that a reading lists one by one. Our choice: their mean time is then known to a thirtieth
of its standard deviation, and a reading is some 20 kB."""


class BatchTime(NamedTuple):
    """One call of the model: the number of requests in it, and the seconds that it took."""

    size: int
    seconds: float


@dataclass(frozen=True)
class Usage:
    """A reading of a `Meter`: counters since its start or since an earlier reading, and current gauges.

    Args:
        seconds: time over which was counted.
        batches: size of a batch → how many were run.
        busy_s: seconds in which the model ran; time in which two batches overlap counts once.
        cpu_s: CPU seconds of the replica's process and of those that its model has started, all their threads.
        gpu_busy_s: seconds in which a kernel of any process ran on the GPU: NVML's utilisation summed over
            `gpu_seen_s`. Sampled as batches end, so an idle replica adds nothing to either.
        gpu_seen_s: seconds that NVML's samples stand for; 0 without a GPU, or where NVML does not report it (MIG).
        memory_bytes: current resident memory of the process, and what those that its model has started have beyond it.
        gpu_memory_bytes: memory currently in use on the whole GPU; None without one. The process's own part is not
            available inside containers, where NVML does not know the process by its id.
        queue: number of requests that currently wait for a batch.
        queue_most: largest number of requests that waited at once since the previous reading.
        others_s: CPU seconds that other processes used on the cores that the replica is pinned to, while it was ready
            to run there; all that they used where the system does not report how long its threads waited.
        cores_s: core-seconds over which `others_s` was counted; 0 where the replica is not pinned, or the system does
            not report it.
        load_s: CPU seconds that processes which send load used on these cores likewise; they are not in `others_s`.
        recent: size and seconds of each of the last batches, in order, `RECENT` at most; empty where many calls run at
            the same time.
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
    load_s: float = 0.0
    recent: tuple[BatchTime, ...] = ()

    def __post_init__(self) -> None:
        for name in (*_COUNTERS, "memory_bytes", "queue", "queue_most"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}")
        if any(size < 1 or count < 1 for size, count in self.batches.items()):
            raise ValueError(f"sizes and counts of batches must be 1 or more, got {dict(self.batches)}")

    def since(self, earlier: Usage) -> Usage:
        """The usage between an earlier reading of the same meter and this one; gauges are those of this reading.

        Raises:
            ValueError: `earlier` is a reading of another meter, or not earlier.
        """
        left = Counter(self.batches)
        left.subtract(earlier.batches)
        counters = {name: getattr(self, name) - getattr(earlier, name) for name in _COUNTERS}
        if min(*counters.values(), *left.values()) < 0:
            raise ValueError(
                "cannot subtract the reading: it counted more than this one, so it is later or from another replica"
            )
        since = self.recent[max(0, len(self.recent) - sum(left.values())) :]
        return replace(self, **counters, batches=dict(+left), recent=since)

    @property
    def mean_batch(self) -> float | None:
        """Mean number of requests in a batch; None if there was no batch."""
        count = sum(self.batches.values())
        return sum(size * n for size, n in self.batches.items()) / count if count else None

    @property
    def busy_share(self) -> float | None:
        """Share of the time in which the model ran; None if no time has passed."""
        return self.busy_s / self.seconds if self.seconds else None

    @property
    def cpu_cores(self) -> float | None:
        """Mean number of cores in use; None if no time has passed."""
        return self.cpu_s / self.seconds if self.seconds else None

    @property
    def gpu_utilisation(self) -> float | None:
        """Share of the time in which a kernel ran on the GPU, 0 to 1; None where NVML did not report it."""
        return self.gpu_busy_s / self.gpu_seen_s if self.gpu_seen_s else None


_COUNTERS = ("seconds", "busy_s", "cpu_s", "gpu_busy_s", "gpu_seen_s", "others_s", "cores_s", "load_s")
