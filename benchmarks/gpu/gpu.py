"""On a GPU: whether the memory cap and the share hold, and what each part of the speed path gains.

    python -m benchmarks gpu [--quick] [--plan] [--dry] [--out FILE]

It needs torch with CUDA and transformers, not Ray. Every comparison is a ratio within one run. `--dry` runs all of it
in seconds without a GPU, on fakes, to check that it works: its figures mean nothing and are not saved.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import torch

from benchmarks.gpu.encoders import MODELS, TINY, Shape
from benchmarks.gpu.speed import Machine, ladder
from benchmarks.gpu.worker import Job, prepare, together, told
from benchmarks.recording.arguments import recording_parser_of
from benchmarks.recording.origin import Origin
from benchmarks.recording.sections import markdown, put
from serve_deployments.batches.accelerator import Cuda
from serve_deployments.fakes.fake_accelerator import FakeAccelerator

HEADING = "On a GPU: limits and the speed path"

_PROCESS_S, _MODEL_S, _COMPILE_S, _BATCH_S = 12.0, 10.0, 60.0, 0.01
"""Guesses for the plan only, in seconds: start of a process; weights and recording graphs; compiling; one batch."""

Together = Callable[[Sequence[Job], Mapping[str, str]], list[dict[str, Any]]]


@dataclass(frozen=True)
class Plan:
    """The measurements to make.

    Args:
        models: models of the speed path.
        batch_sizes: batch sizes for each model.
        batches: batches in a round.
        rounds: rounds for each batch size.
        with_compile: whether to measure `torch.compile` too.
        job: the job with which memory and shares are measured; its limits are replaced.
        mps: whether to measure shares under MPS too.
    """

    models: tuple[Shape, ...] = MODELS
    batch_sizes: tuple[int, ...] = (1, 32)
    batches: int = 40
    rounds: int = 7
    with_compile: bool = True
    job: Job = Job("products", seconds=3.0)
    mps: bool = False

    def lines(self) -> Iterator[tuple[str, float]]:
        """Each part of the plan in words, with its expected seconds."""
        yield "memory: 25 % of it; within the cap, beyond it, within it again", _PROCESS_S
        for how in ("green context", *(["MPS"] if self.mps else [])):
            yield f"share by {how}: all, 25 %, 50 %, and two at 50 %", 5 * _PROCESS_S + 4 * self.job.seconds
        runs = len(self.batch_sizes) * (self.rounds + 1) * self.batches * 8
        for model in self.models:
            seconds = runs * _BATCH_S + len(self.batch_sizes) * (_MODEL_S + self.with_compile * _COMPILE_S)
            yield f"speed path of {model.name}, batches of {', '.join(map(str, self.batch_sizes))}", seconds


QUICK = Plan(batch_sizes=(8,), batches=20, rounds=3, with_compile=False, job=Job("products", seconds=1.0))
DRY = Plan((TINY,), (2,), batches=3, rounds=1, job=Job("products", seconds=0.0, size=8, device="cpu"))


def memory(job: Job, run: Together) -> str:
    """The text on whether a process can exceed its cap on the device's memory, and is clean after it tried."""
    [found] = run([replace(job, what="memory", memory=0.25)], {})
    kept = found["kept_bytes"]
    rows = [
        ["90 % of the cap", found["within"] or "fits"],
        ["110 % of the cap", found["beyond"] or "FITS: the cap does not hold"],
        ["kept on the device after that", f"{kept[0] / 2**20:.0f} MiB" if kept else "–"],
        ["90 % again", found["again"] or "fits"],
    ]
    head = f"### Memory\nA cap of 25 %, {found['cap_gib']:.1f} GiB, by `torch.cuda.set_per_process_memory_fraction`."
    return f"{head}\n\n{markdown(['allocation', 'outcome'], rows)}"


def share(job: Job, run: Together, env: Mapping[str, str]) -> str:
    """The text on rates under shares: one process relative to the whole GPU's, each of two relative to one alone."""

    def rates(*shares: float) -> list[dict[str, Any]]:
        return run([replace(job, share=each) for each in shares], env)

    [whole], [quarter], [half] = rates(1.0), rates(0.25), rates(0.5)
    both = rates(0.5, 0.5)
    enforcement = told(quarter, "gpu_share")
    rows = [
        ["25 % of the share, to all", f"{quarter['rate'] / whole['rate']:.3f}"],
        ["50 % of the share, to all", f"{half['rate'] / whole['rate']:.3f}"],
        *([f"{which} of two at 50 %, to one alone", f"{b['rate'] / half['rate']:.3f}"]
          for which, b in zip(("first", "second"), both, strict=True)),
        ["the two together, to all", f"{sum(b['rate'] for b in both) / whole['rate']:.3f}"],
    ]  # fmt: skip
    how = "–" if enforcement is None else f"{'enforced' if enforcement.enforced else 'NOT enforced'}: {enforcement.how}"
    name = "MPS" if job.mps else "green context"
    about = f"Products of float32 matrices, {job.size} × {job.size}, in processes of their own; 25 % is {how}."
    return f"### Share by {name}\n{about}\n\n{markdown(['rate', 'ratio'], rows)}"


def speed(plan: Plan, machine: Machine) -> str:
    """The text on the parts of the speed path, for each model and batch size."""
    header = ["step", "texts/s", "× plain", "range over rounds", "largest difference", "remarks"]
    sections = []
    for model in plan.models:
        for batch in plan.batch_sizes:
            rungs = ladder(
                model, batch, machine, batches=plan.batches, rounds=plan.rounds, with_compile=plan.with_compile
            )
            rows = [
                [r.name, f"{r.rate:.0f}", f"{r.ratio:.2f}", f"{r.worst[0]:.2f}–{r.worst[1]:.2f}", f"{r.difference:.1e}",
                 r.about] for r in rungs
            ]  # fmt: skip
            sections.append(f"### {model.name}, batches of {batch}\n{markdown(header, rows)}")
            print(f"{model.name}, batches of {batch}: done", flush=True)
    return "\n\n".join(sections)


@contextmanager
def mps_daemon() -> Iterator[dict[str, str]]:
    """Runs an MPS daemon for this run only; yields the environment variables by which processes find it."""
    with tempfile.TemporaryDirectory() as folder:
        env = {"CUDA_MPS_PIPE_DIRECTORY": folder, "CUDA_MPS_LOG_DIRECTORY": folder}
        control = "nvidia-cuda-mps-control"
        subprocess.run([control, "-d"], env={**os.environ, **env}, check=True, timeout=30)
        try:
            yield env
        finally:
            subprocess.run([control], input="quit\n", text=True, env={**os.environ, **env}, timeout=60)


def in_this_process(jobs: Sequence[Job], env: Mapping[str, str]) -> list[dict[str, Any]]:
    """Replaces `together` in a dry run: a fake device with a memory cap of 1 MiB, on which arithmetic takes no time."""

    def empty(size_bytes: int, **_: Any) -> None:
        if size_bytes > 2**20:
            raise MemoryError(f"no room for {size_bytes} bytes")

    cuda = SimpleNamespace(
        is_available=lambda: False, current_device=lambda: 0,
        get_device_properties=lambda device: SimpleNamespace(total_memory=2**22),
    )  # fmt: skip
    fake = SimpleNamespace(
        __version__="0", cuda=cuda, empty=empty, uint8=None, randn=torch.randn, mm=torch.mm, empty_like=torch.empty_like
    )
    ticks = iter(range(1_000_000))
    return [prepare(replace(job, seconds=2.0), fake, lambda: float(next(ticks)))() for job in jobs]


def machine(dry: bool) -> Machine:
    """The GPU, or a fake of it for a dry run."""
    if dry:
        return Machine("cpu", FakeAccelerator, lambda: None, time.perf_counter, lambda model, mode: model)
    return Machine("cuda", Cuda, torch.cuda.synchronize, time.perf_counter, torch.compile)


def report(plan: Plan, here: Machine, run: Together) -> str:
    """Measures everything; a part that fails is reported too, so that the others are not lost."""
    parts = [("Memory", lambda: memory(plan.job, run)), ("Share by green context", lambda: share(plan.job, run, {}))]
    if plan.mps:

        def under_mps() -> str:
            with mps_daemon() as env:
                return share(replace(plan.job, mps=True), run, env)

        parts.append(("Share by MPS", under_mps))
    parts.append(("Speed", lambda: speed(plan, here)))
    said = []
    for name, part in parts:
        try:
            said.append(part())
        except Exception as error:
            said.append(f"### {name}\nFailed: {type(error).__name__}: {str(error)[-500:]}")
        print(said[-1], flush=True)
    return "\n\n".join(said)


def main(arguments: Sequence[str]) -> None:
    parser = recording_parser_of(__name__, __doc__)
    parser.add_argument("--quick", action="store_true", help="one batch size, few rounds, nothing compiled")
    parser.add_argument("--plan", action="store_true", help="say what is measured and how long it takes, and stop")
    parser.add_argument("--dry", action="store_true", help="on stand-ins, without a GPU; nothing is kept")
    parser.add_argument("--no-mps", action="store_true", help="start no MPS daemon, though there is one")
    asked = parser.parse_args(arguments)
    plan = DRY if asked.dry else QUICK if asked.quick else Plan()
    can_mps = not (asked.dry or asked.no_mps) and shutil.which("nvidia-cuda-mps-control") is not None
    plan = replace(plan, mps=can_mps)
    for what, seconds in plan.lines():
        print(f"{what}: about {seconds:.0f} s")
    print(f"together about {sum(seconds for _, seconds in plan.lines()) / 60:.1f} min")
    if asked.plan:
        return
    if not asked.dry and not torch.cuda.is_available():
        sys.exit(f"torch {torch.__version__} sees no CUDA device here, so nothing was measured; --dry needs none")
    body = report(plan, machine(asked.dry), in_this_process if asked.dry else together)
    if not asked.dry:
        gpu = torch.cuda.get_device_properties(0)
        about = (
            f"{gpu.name}, {gpu.multi_processor_count} multiprocessors, {gpu.total_memory / 2**30:.0f} GiB, "
            f"torch {torch.__version__}, CUDA {torch.version.cuda}."
        )
        put(asked.out, HEADING, Origin.here(__name__, arguments), f"{about}\n\n{body}")
