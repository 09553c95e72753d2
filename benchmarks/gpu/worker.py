"""A process on the GPU under a limit on its share or memory; `gpu` starts it to check whether the limit holds.

    python -m benchmarks.gpu.worker '{"what": "products", "share": 0.25, …}'

It prepares, says so, waits for a line, measures and prints its findings as JSON, so that two can measure at the same
time. Each job needs a new process: MPS reads its percentage, and torch its cap, only once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.recording.origin import ROOT
from serve_deployments.device.gpu.limits import enforce_gpu
from serve_deployments.device.gpu.memory import clean_after
from serve_deployments.enforcement import Enforcement
from serve_deployments.settings import Settings

_AT_ONCE = 10  # products between two readings of the clock; our choice: some 0.2 s of the largest on an H100


@dataclass(frozen=True)
class Job:
    """The measurement that a process makes, and its limits.

    Args:
        what: "products" (matrix products per second) or "memory" (whether the cap holds).
        share: fraction of the multiprocessors; 1: all of them.
        memory: fraction of the device's memory that the process may use; 0: all of it.
        mps: whether MPS enforces the share.
        seconds: duration of the measurement.
        size: rows and columns of the matrices.
        device: "cuda", or "cpu" to check that the script works.
    """

    what: str
    share: float = 1.0
    memory: float = 0.0
    mps: bool = False
    seconds: float = 3.0
    size: int = 6144
    device: str = "cuda"

    @property
    def settings(self) -> Settings:
        """The settings of a replica under these limits."""
        return Settings(
            gpu_type="this", gpu_share=self.share, gpu_memory=self.memory, mps=self.mps, emulated=self.device == "cpu"
        )


Prepared = Callable[[], dict[str, Any]]


def prepare(job: Job, torch: Any, clock: Callable[[], float] = time.perf_counter) -> Prepared:
    """Enforces the limits and prepares the job; returns the function that measures."""
    told = enforce_gpu(job.settings, torch)
    measure = {"products": products, "memory": memory}[job.what](job, torch, clock)
    return lambda: {"told": [asdict(t) for t in told], **measure()}


def products(job: Job, torch: Any, clock: Callable[[], float]) -> Prepared:
    """Products of two float32 matrices per second: pure arithmetic, so proportional to the multiprocessors in use."""
    a = torch.randn(job.size, job.size, device=job.device)
    made = torch.empty_like(a)

    def several() -> None:
        for _ in range(_AT_ONCE):
            torch.mm(a, a, out=made)
        if job.device != "cpu":
            torch.cuda.current_stream().synchronize()

    several()

    def measure() -> dict[str, Any]:
        done, start = 0, clock()
        while (spent := clock() - start) < job.seconds:
            several()
            done += _AT_ONCE
        return {"rate": done / spent}

    return measure


def memory(job: Job, torch: Any, clock: Callable[[], float]) -> Prepared:
    """Allocates memory within the cap, beyond it, and within it again."""

    def fits(size_bytes: float) -> str | None:
        """Tries to allocate; None if it fits, otherwise the first line of the error."""
        try:
            torch.empty(int(size_bytes), dtype=torch.uint8, device=job.device)
        except Exception as error:
            kept.append(clean_after(error, torch))
            return f"{type(error).__name__}: {str(error).splitlines()[0]}"
        return None

    kept: list[int] = []

    def measure() -> dict[str, Any]:
        cap = job.memory * torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
        within, beyond, again = (fits(part * cap) for part in (0.9, 1.1, 0.9))
        return {"cap_gib": cap / 2**30, "within": within, "beyond": beyond, "again": again, "kept_bytes": kept[:1]}

    return measure


def together(jobs: Sequence[Job], env: Mapping[str, str]) -> list[dict[str, Any]]:
    """Runs each job in a process of its own, all measuring at the same time.

    Args:
        jobs: the jobs.
        env: additional environment variables.

    Raises:
        RuntimeError: a process failed; the message has the end of its output.
    """
    started = [_start(job, env) for job in jobs]
    try:
        for process in started:
            _line(process)
        for process in started:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        return [json.loads(_line(process)) for process in started]
    finally:
        for process in started:
            process.kill()
            process.communicate()


def _start(job: Job, env: Mapping[str, str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.gpu.worker", json.dumps(asdict(job))]
    own = job.settings.environment if job.mps else {}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, env={**os.environ, **env, **own}, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=ROOT
    )


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        _, said = process.communicate()
        raise RuntimeError(f"a process on the GPU failed: {said.strip()[-500:]}")
    return line


def told(finding: Mapping[str, Any], limit: str) -> Enforcement | None:
    """How a process reports that a limit was enforced; None if it does not report it."""
    return next((Enforcement(**each) for each in finding["told"] if each["limit"] == limit), None)


def main() -> None:
    import torch

    measure = prepare(Job(**json.loads(sys.argv[1])), torch)
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(measure()), flush=True)


if __name__ == "__main__":
    main()
