"""What a process on the GPU measures or tries, each by its name in `CHECKS`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.gpu.computing import COMPUTING
from benchmarks.gpu.graph_checks import graphs
from benchmarks.gpu.words import words
from serve_deployments.device.gpu.memory import clean_after
from serve_deployments.device.gpu.outside import cap_fraction, outside_bytes
from serve_deployments.settings import Settings

_AT_ONCE = 10  # products between two readings of the clock; our choice: some 0.2 s of the largest on an H100

_BEYOND_S = 120.0
"""Seconds that a check may take beyond its measuring; our choice, ten times what it takes."""

_SMID = """
extern "C" __global__ void where(int* seen) {
    unsigned int id;
    asm volatile("mov.u32 %0, %%smid;" : "=r"(id));
    seen[id] = 1;
    long long start = clock64();
    while (clock64() - start < 100000) {}
}
"""
"""A kernel that notes on which multiprocessors its blocks run (PTX ISA, special register %smid)."""

_MOST_MULTIPROCESSORS = 1024


@dataclass(frozen=True)
class Job:
    """The measurement that a process makes, and its limits.

    Args:
        what: one of `CHECKS`.
        kind: of "held": in which way the model computes, one of `COMPUTING`.
        share: fraction of the multiprocessors; 1: all of them.
        memory: fraction of the device's memory that the process may use; 0: all of it.
        mps: whether MPS enforces the share.
        seconds: duration of the measurement.
        size: rows and columns of the matrices.
        device: "cuda", or "cpu" to check that the script works.
        speed: of "speed": arguments of `speed.ladder`, with the model's name.
    """

    what: str
    kind: str = "torch"
    share: float = 1.0
    memory: float = 0.0
    mps: bool = False
    seconds: float = 3.0
    size: int = 6144
    device: str = "cuda"
    speed: dict[str, Any] | None = None

    @property
    def settings(self) -> Settings:
        """The settings of a replica under these limits."""
        return Settings(gpu_type="this", gpu_share=self.share, gpu_memory=self.memory, emulated=self.device == "cpu")

    @property
    def within_s(self) -> float:
        """Seconds within which it must have measured; a process that has not hangs."""
        return self.seconds + (10 * _BEYOND_S if self.what == "speed" else _BEYOND_S)


Measure = Callable[[], dict[str, Any]]


def held(job: Job, torch: Any, clock: Callable[[], float]) -> Measure:
    """Products of two float32 matrices per second: pure arithmetic, so proportional to the multiprocessors in use."""
    try:
        run, of_model = COMPUTING[job.kind](job, torch)
    except ImportError as error:
        missing = f"{error.name} is not installed"
        return lambda: {"left_out": missing}

    def several() -> None:
        for _ in range(_AT_ONCE):
            run()
        if job.device != "cpu":
            torch.cuda.synchronize()

    several()

    def measure() -> dict[str, Any]:
        done, spent, start = 0, 0.0, clock()
        while not done or spent < job.seconds:
            several()
            done, spent = done + _AT_ONCE, clock() - start
        return {"rate": done / spent, "seen": seen_multiprocessors(job, torch), "of_model": of_model()}

    return measure


def seen_multiprocessors(job: Job, torch: Any) -> int | None:
    """Number of multiprocessors on which blocks of a kernel ran in this thread's stream; None if it cannot be seen."""
    if job.device == "cpu" or not hasattr(torch.cuda, "_compile_kernel"):
        return None
    try:
        seen = torch.zeros(_MOST_MULTIPROCESSORS, dtype=torch.int32, device=job.device)
        torch.cuda._compile_kernel(_SMID, "where")(grid=(16384, 1, 1), block=(64, 1, 1), args=[seen])
        return int(seen.sum())
    except (RuntimeError, OSError):  # no NVRTC
        return None


def memory(job: Job, torch: Any, clock: Callable[[], float]) -> Measure:
    """Allocates memory within the cap, beyond it, and within it again."""

    def fits(size_bytes: float) -> str | None:
        """Tries to allocate; None if it fits, otherwise the first line of the error."""
        try:
            torch.empty(int(size_bytes), dtype=torch.uint8, device="cuda")
        except Exception as error:
            kept.append(clean_after(error, torch))
            return f"{type(error).__name__}: {str(error).splitlines()[0]}"
        return None

    kept: list[int] = []

    def measure() -> dict[str, Any]:
        cap = cap_fraction(job.settings, torch) * torch.cuda.mem_get_info()[1]
        within, beyond, again = (fits(part * cap) for part in (0.9, 1.1, 0.9))
        found = {"within": within, "beyond": beyond, "again": again, "kept_bytes": kept[:1]}
        return {"cap_gib": cap / 2**30, "cuda_gib": outside_bytes(torch) / 2**30, **found}

    return measure


def part(job: Job, torch: Any, clock: Callable[[], float]) -> Measure:
    """Holds nearly all that its cap allows, for as long as others do the same on the other parts of the GPU."""

    def measure() -> dict[str, Any]:
        cap, until = cap_fraction(job.settings, torch) * torch.cuda.mem_get_info()[1], clock() + job.seconds
        try:
            held = torch.empty(int(0.97 * cap), dtype=torch.uint8, device="cuda")
        except Exception as error:
            clean_after(error, torch)
            return {"fits": f"{type(error).__name__}: {str(error).splitlines()[0]}"}
        while clock() < until:
            time.sleep(0.0 if job.device == "cpu" else 0.05)
        del held
        return {"fits": None, "held_gib": 0.97 * cap / 2**30}

    return measure


def speed(job: Job, torch: Any, clock: Callable[[], float]) -> Measure:
    """The parts of the speed path, switched on one after another."""
    from benchmarks.gpu.encoders import BY_NAME
    from benchmarks.gpu.speed import ladder, machine

    asked = dict(job.speed or {})
    model = BY_NAME[asked.pop("model")]
    return lambda: {"rungs": [asdict(rung) for rung in ladder(model, machine=machine(job.device), **asked)]}


CHECKS: dict[str, Callable[[Any, Any, Callable[[], float]], Measure]] = {
    "held": held, "memory": memory, "part": part, "graphs": graphs, "words": words, "speed": speed,
}  # fmt: skip
