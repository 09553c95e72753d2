"""On a GPU: whether the memory cap and the share hold, what a replica says of them, and what each speed-up gains.

    python -m benchmarks gpu [--quick] [--plan] [--dry] [--out FILE]

It needs torch with CUDA and transformers, not Ray; ONNX Runtime is checked where it is installed. Every comparison is a
ratio within one run, and every part runs in processes of its own, which are ended if they hang. `--dry` runs all of it
in seconds without a GPU, on fakes, to check that it works: its figures mean nothing and are not saved.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import torch

from benchmarks.gpu import device, sections
from benchmarks.gpu.checks import Job
from benchmarks.gpu.computing import COMPUTING
from benchmarks.gpu.dry import in_this_process
from benchmarks.gpu.encoders import MODELS, TINY, Shape
from benchmarks.gpu.sections import Together
from benchmarks.gpu.worker import together
from benchmarks.recording.arguments import recording_parser_of
from benchmarks.recording.origin import Origin
from benchmarks.recording.sections import put
from cluster.nvml import NodeGpus

HEADING = "On a GPU: limits and the speed path"

_PROCESS_S, _MODEL_S, _COMPILE_S, _BATCH_S = 12.0, 10.0, 60.0, 0.01
"""Guesses for the plan only, in seconds: start of a process; weights and recording graphs; compiling; one batch."""

_HELD_S = 1.0  # seconds of each measurement of `sections.held`: a ratio of 0.25 or 1 needs no more


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
        of: GPUs to name; None: those of this machine.
    """

    models: tuple[Shape, ...] = MODELS
    batch_sizes: tuple[int, ...] = (1, 32)
    batches: int = 30
    rounds: int = 5
    with_compile: bool = True
    job: Job = Job("held", seconds=2.0)
    mps: bool = False
    of: NodeGpus | None = None

    def parts(self, run: Together) -> Iterator[tuple[str, float, Callable[[], str]]]:
        """Each part of the plan: what it checks, its expected seconds, and the function that makes its text."""
        job, short = self.job, replace(self.job, seconds=min(self.job.seconds, _HELD_S))
        yield (
            "memory: a cap of 25 %, asked of the device; within it, beyond it, within it again", _PROCESS_S,
            partial(sections.memory, job, run),
        )  # fmt: skip
        yield (
            "what the GPUs are: product, memory, slices; whether torch has kernels",
            1.0,
            partial(device.section, self.of),
        )
        yield (
            "four quarters of the memory at once, each filled up with what CUDA itself takes", _PROCESS_S + job.seconds,
            partial(sections.quarters, job, run),
        )  # fmt: skip
        shares = "share by {}: all, 25 %, 50 %, and two at 50 %; on which multiprocessors kernels ran"
        seconds = 4 * _PROCESS_S + 4 * job.seconds
        yield shares.format("green context"), seconds, partial(sections.share, job, run, {})
        if self.mps:
            yield shares.format("MPS"), seconds, partial(under_mps, job, run)
        yield (
            f"whom a share of 25 % holds, and what is said of it: {'; '.join(COMPUTING)}",
            2 * len(COMPUTING) * (_PROCESS_S / 2 + short.seconds), partial(sections.held, short, run),
        )  # fmt: skip
        yield (
            "CUDA graphs: all shapes recorded before the load and none under it; given up; what a failed one leaves",
            _PROCESS_S, partial(sections.graphs, job, run),
        )  # fmt: skip
        yield (
            "out of memory in torch, cuBLAS and ONNX Runtime: whether the words are recognised",
            _PROCESS_S, partial(sections.words, job, run),
        )  # fmt: skip
        one_s = (self.rounds + 1) * self.batches * 8 * _BATCH_S + _MODEL_S + self.with_compile * _COMPILE_S
        for model in self.models:
            for batch in self.batch_sizes:
                yield (
                    f"speed path of {model.name}, batches of {batch}", one_s,
                    partial(
                        sections.speed, job, run, model.name, batch=batch, batches=self.batches, rounds=self.rounds,
                        with_compile=self.with_compile,
                    ),
                )  # fmt: skip


QUICK = Plan(batch_sizes=(8,), batches=20, rounds=3, with_compile=False, job=Job("held", seconds=1.0))
DRY = Plan((TINY,), (2,), batches=3, rounds=1, job=Job("held", seconds=2.0, size=8, device="cpu"), of=device.DRY)


def under_mps(job: Job, run: Together) -> str:
    """The text on shares under an MPS daemon that runs for this only."""
    with mps_daemon() as env:
        return sections.share(replace(job, mps=True), run, env)


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


def report(plan: Plan, run: Together) -> str:
    """Measures everything; a part that fails is reported too, so that the others are not lost."""
    said = []
    for name, _, part in plan.parts(run):
        try:
            said.append(part())
        except Exception as error:
            said.append(
                f"### {name.partition(':')[0].capitalize()}\nFailed: {type(error).__name__}: {str(error)[-500:]}"
            )
        print(said[-1], flush=True)
    return "\n\n".join(said)


def main(arguments: Sequence[str]) -> None:
    parser = recording_parser_of(__name__, __doc__)
    parser.add_argument("--quick", action="store_true", help="one batch size, few rounds, nothing compiled")
    parser.add_argument("--plan", action="store_true", help="say what is checked and how long it takes, and stop")
    parser.add_argument("--dry", action="store_true", help="on stand-ins, without a GPU; nothing is kept")
    parser.add_argument("--no-mps", action="store_true", help="start no MPS daemon, though there is one")
    asked = parser.parse_args(arguments)
    plan = DRY if asked.dry else QUICK if asked.quick else Plan()
    can_mps = not (asked.dry or asked.no_mps) and shutil.which("nvidia-cuda-mps-control") is not None
    plan = replace(plan, mps=can_mps)
    run = in_this_process if asked.dry else together
    parts = list(plan.parts(run))
    for what, seconds, _ in parts:
        print(f"{what}: about {seconds:.0f} s")
    print(f"together about {sum(seconds for _, seconds, _ in parts) / 60:.1f} min")
    if asked.plan:
        return
    if not asked.dry and not torch.cuda.is_available():
        sys.exit(f"torch {torch.__version__} sees no CUDA device here, so nothing was measured; --dry needs none")
    body = report(plan, run)
    if not asked.dry:
        gpu = torch.cuda.get_device_properties(0)
        about = (
            f"{gpu.name}, {gpu.multi_processor_count} multiprocessors, {gpu.total_memory / 2**30:.0f} GiB, "
            f"torch {torch.__version__}, CUDA {torch.version.cuda}."
        )
        put(asked.out, HEADING, Origin.here(__name__, arguments), f"{about}\n\n{body}")
