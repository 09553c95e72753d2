"""What a replica did while it was measured: batches formed, time busy, CPU, memory, GPU, queue; and others beside it.

A `Meter` belongs to a replica and counts from its start; the difference of two readings is a level's share.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

RECENT = 1000
"""Batches that a reading tells one by one. Our choice: their mean time is then known to a thirtieth of its spread, and
a reading is some 20 kB."""


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
        recent: size and seconds of each of the last batches, in their order, `RECENT` at most.
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


_COUNTERS = ("seconds", "busy_s", "cpu_s", "gpu_busy_s", "gpu_seen_s", "others_s", "cores_s")
