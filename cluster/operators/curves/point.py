"""One point of a resource curve: an operator at one setting of resources, and how long a call takes there."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cluster.operators.scaling import OperatorClass


@dataclass(frozen=True)
class Resources:
    """The resources that an operator is called with.

    Args:
        batch: payloads in the batch.
        precision: type of the model's numbers.
        cpu_cores: cores.
        threads: threads that compute one operation.
        gpu_type: type of the GPU; None for the CPU.
        gpu_share: part of the GPU's compute; 0 without a GPU or if it is not limited.
        gpu_memory: part of the GPU's memory; 0 without a GPU or if it is not limited.

    Raises:
        ValueError: a number is out of its range.
    """

    batch: int
    precision: str = "float32"
    cpu_cores: int = 1
    threads: int = 1
    gpu_type: str | None = None
    gpu_share: float = 0.0
    gpu_memory: float = 0.0

    def __post_init__(self) -> None:
        if min(self.batch, self.cpu_cores, self.threads) < 1:
            raise ValueError(f"batch, cores and threads must be 1 or more, got {self}")
        if not (0 <= self.gpu_share <= 1 and 0 <= self.gpu_memory <= 1):
            raise ValueError(f"parts of a GPU are between 0 and 1, got {self}")
        if self.gpu_type is None and (self.gpu_share or self.gpu_memory):
            raise ValueError(f"parts of a GPU need its type, got {self}")

    @property
    def placement(self) -> tuple[str | None, float, float]:
        """What is fixed for a process: the GPU's type, and the parts of its compute and memory."""
        return self.gpu_type, self.gpu_share, self.gpu_memory


@dataclass(frozen=True)
class CallTime:
    """How long a call takes.

    Args:
        mean_s: mean seconds.
        low_s: lower end of the mean's 95 % interval.
        high_s: upper end of it.
        calls: number of calls that it rests on.

    Raises:
        ValueError: the mean is not positive, or outside of its interval.
    """

    mean_s: float
    low_s: float
    high_s: float
    calls: int

    def __post_init__(self) -> None:
        if not (0 < self.mean_s < math.inf and self.low_s <= self.mean_s <= self.high_s and self.calls >= 1):
            raise ValueError(f"a time needs a positive mean within its interval and 1 or more calls, got {self}")

    @property
    def error(self) -> float:
        """Half of the interval, as a part of the mean."""
        return (self.high_s - self.low_s) / 2 / self.mean_s


@dataclass(frozen=True)
class Job:
    """A point that is wanted."""

    operator: OperatorClass
    resources: Resources


@dataclass(frozen=True)
class Point:
    """A point that was measured.

    Args:
        operator: the operator and its shapes.
        resources: what it had.
        time: how long a call takes.
        device: name of the processor, or of the GPU.
        versions: versions of what computed it, such as `torch 2.13.0`.
    """

    operator: OperatorClass
    resources: Resources
    time: CallTime
    device: str
    versions: str


@dataclass(frozen=True)
class NotMeasured:
    """A point that could not be measured, and why."""

    job: Job
    why: str
