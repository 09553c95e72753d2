"""What holds and what pays on a GPU: its memory's cap, its share, and the parts of a fast replica.

    python -m benchmarks gpu [--quick] [--plan] [--dry] [--out FILE]

It needs torch with CUDA and transformers, not Ray. Every comparison is made in one run, as a ratio. `--dry` goes
through all of it in seconds without a GPU, on stand-ins, to see that it works: its figures mean nothing, none is kept.
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
"""For the plan only, our guesses: a process until it is ready; weights and recording graphs; compiling; a batch."""

Together = Callable[[Sequence[Job], Mapping[str, str]], list[dict[str, Any]]]


@dataclass(frozen=True)
class Plan:
    """What is going to be measured.

    Args:
        models: of the speed path.
        batch_sizes: of each.
        batches: in a round.
        rounds: of each batch size.
        with_compile: `torch.compile` too.
        job: as which shares are measured, save for the share.
        mps: shares under MPS too.
    """

    models: tuple[Shape, ...] = MODELS
    batch_sizes: tuple[int, ...] = (1, 32)
    batches: int = 40
    rounds: int = 7
    with_compile: bool = True
    job: Job = Job("products", seconds=3.0)
    mps: bool = False

    def lines(self) -> Iterator[tuple[str, float]]:
        """Each part in words, and its seconds."""
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
    """Whether a process can take more than its part of the device's memory, and is clean after it tried."""
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
    """Rates of processes held to shares, as parts of that of one that has all; two at once as parts of one alone."""

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
    """The parts of the speed path, one after another."""
    header = ["step", "texts/s", "× plain", "in rounds", "largest difference", "says"]
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
    """A daemon of MPS for this run alone; gives the variables by which processes find it."""
    with tempfile.TemporaryDirectory() as folder:
        env = {"CUDA_MPS_PIPE_DIRECTORY": folder, "CUDA_MPS_LOG_DIRECTORY": folder}
        control = "nvidia-cuda-mps-control"
        subprocess.run([control, "-d"], env={**os.environ, **env}, check=True, timeout=30)
        try:
            yield env
        finally:
            subprocess.run([control], input="quit\n", text=True, env={**os.environ, **env}, timeout=60)


def in_this_process(jobs: Sequence[Job], env: Mapping[str, str]) -> list[dict[str, Any]]:
    """Stands in for `together` in a dry run: a device whose memory has a cap of 1 MiB, and no time for arithmetic."""

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
    """The GPU, or what stands in for it."""
    if dry:
        return Machine("cpu", FakeAccelerator, lambda: None, time.perf_counter, lambda model, mode: model)
    return Machine("cuda", Cuda, torch.cuda.synchronize, time.perf_counter, torch.compile)


def report(plan: Plan, here: Machine, run: Together) -> str:
    """Measure everything; a part that fails is a finding too, and no reason to lose the others."""
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
