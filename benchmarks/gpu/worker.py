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
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import IO, Any

from benchmarks.gpu.checks import CHECKS, Job
from benchmarks.recording.origin import ROOT
from benchmarks.recording.said_lines import SaidLines, end
from serve_deployments.device.gpu.limits import checked, enforce_gpu
from serve_deployments.resources.enforcement import corrected

READY_S = 120.0
"""Seconds that a process may take to import torch, begin with CUDA and prepare; our choice, ten times what it takes."""


def prepare(job: Job, torch: Any, clock: Callable[[], float] = time.perf_counter) -> Callable[[], dict[str, Any]]:
    """Enforces the limits and prepares the job; returns the function that measures, and then asks for the limits."""
    told = enforce_gpu(job.settings, torch)
    measure = CHECKS[job.what](job, torch, clock)

    def measured() -> dict[str, Any]:
        found = measure()
        own = found.pop("of_model", ())
        return {"told": [asdict(each) for each in corrected(checked(told, job.settings, torch), own)], **found}

    return measured


def together(jobs: Sequence[Job], env: Mapping[str, str], ready_s: float = READY_S) -> list[dict[str, Any]]:
    """Runs each job in a process of its own, all measuring at the same time.

    Args:
        jobs: the jobs.
        env: additional environment variables.
        ready_s: seconds that each may take until it is ready; what it may take to measure, its job says.

    Raises:
        RuntimeError: a process failed; the message has the end of its output.
        Silent: a process did not answer in time; it has been ended.
    """
    with ExitStack() as stack:
        started = []
        for job in jobs:
            errors = stack.enter_context(tempfile.TemporaryFile("w+"))  # a pipe that nobody reads would fill up
            process = _start(job, env, errors)
            stack.callback(end, process)
            started.append((job, SaidLines(process, f"the process of {job.what!r} on the GPU"), errors))
        for _, lines, errors in started:
            _said(lines, errors, ready_s)
        for _, lines, _ in started:
            assert lines.process.stdin is not None
            lines.process.stdin.write("go\n")
            lines.process.stdin.flush()
        return [json.loads(_said(lines, errors, job.within_s)) for job, lines, errors in started]


def _start(job: Job, env: Mapping[str, str], errors: IO[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.gpu.worker", json.dumps(asdict(job))]
    own = job.settings.environment if job.mps else {}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, env={**os.environ, **env, **own}, stdin=pipe, stdout=pipe, stderr=errors, text=True, cwd=ROOT,
        start_new_session=True,
    )  # fmt: skip


def _said(lines: SaidLines, errors: IO[str], within_s: float) -> str:
    line = lines.next(within_s)
    if line is None:
        end(lines.process)
        errors.seek(0)
        raise RuntimeError(f"a process on the GPU failed: {errors.read().strip()[-500:]}")
    return line


def main() -> None:
    import torch

    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print is no answer
    measure = prepare(Job(**json.loads(sys.argv[1])), torch)
    print("ready", flush=True, file=answers)
    sys.stdin.readline()
    print(json.dumps(measure()), flush=True, file=answers)


if __name__ == "__main__":
    main()
