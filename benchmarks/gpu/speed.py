"""Measures what each part of a fast replica gains on this GPU; the parts are switched on one after another.

All steps take turns in each round, so that a GPU that warms up slows all of them. A ratio is the median over rounds
of a step's rate as a multiple of the plain loop's rate in the same round.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from benchmarks.gpu.encoders import Shape, Text, drawn, embedding, encoder
from serve_deployments.batches.accelerator import Accelerator, Cuda
from serve_deployments.batches.batch_parts import Parts
from serve_deployments.batches.device_batches import IN_FLIGHT, DeviceBatches
from serve_deployments.fakes.fake_accelerator import FakeAccelerator
from serve_deployments.models.compiling import compiled

Results = list[list[float]]
EncoderCall = Callable[[Sequence[list[Text]]], list[Results]]
"""Runs batches one after another → the results of each."""


@dataclass(frozen=True)
class Machine:
    """The device to measure on.

    Args:
        device: torch's name of the device.
        accelerator: makes a new accelerator.
        synchronize: waits until the device has nothing left to do.
        clock: clock in seconds.
        compile: `torch.compile`, or a fake of it.
    """

    device: str
    accelerator: Callable[[], Accelerator]
    synchronize: Callable[[], None]
    clock: Callable[[], float]
    compile: Callable[..., Any]


def machine(device: str) -> Machine:
    """The GPU; for "cpu" a fake of it, to check that the script works."""
    if device == "cpu":
        return Machine("cpu", FakeAccelerator, lambda: None, time.perf_counter, lambda model, mode: model)
    return Machine(device, Cuda, torch.cuda.synchronize, time.perf_counter, torch.compile)


@dataclass(frozen=True)
class Step:
    """A way to run batches, with one more part switched on.

    Args:
        name: the part that was added.
        answer: runs batches that way.
        about: remarks on the step, asked for afterwards.
    """

    name: str
    answer: EncoderCall
    about: Callable[[], str] = lambda: ""


@dataclass(frozen=True)
class Rung:
    """The result of one step.

    Args:
        name: name of the step.
        rate: texts per second, median over rounds.
        ratio: rate relative to the plain loop's, median of the rounds' ratios.
        worst: least and largest of those ratios.
        difference: largest difference of any number in the results from the plain loop's.
        about: remarks on the step.
    """

    name: str
    rate: float
    ratio: float
    worst: tuple[float, float]
    difference: float
    about: str


def plain(parts: Parts, machine: Machine, *, pinned: bool) -> EncoderCall:
    """The plain loop: one copy per tensor to the device and back, without overlap."""

    @torch.inference_mode()
    def one(batch: list[Text]) -> Results:
        tensors = parts.collate(batch)
        if pinned:
            tensors = {name: t.pin_memory() if machine.device != "cpu" else t for name, t in tensors.items()}
        there = {name: t.to(machine.device, non_blocking=pinned) for name, t in tensors.items()}
        return parts.split({name: t.cpu() for name, t in parts.forward(there).items()})

    return lambda batches: [one(batch) for batch in batches]


def overlapped(device: DeviceBatches, waiter: ThreadPoolExecutor) -> EncoderCall:
    """Runs batches as a replica does under load: one thread begins them, another one waits for the results."""

    def answer(batches: Sequence[list[Text]]) -> list[Results]:
        begun: list[Future[Results]] = []
        for i, batch in enumerate(batches):
            if i >= IN_FLIGHT:
                begun[i - IN_FLIGHT].result()
            begun.append(waiter.submit(device.finish, device.begin(batch)))
        return [each.result() for each in begun]

    return answer


def steps(shape: Shape, machine: Machine, waiter: ThreadPoolExecutor, *, with_compile: bool) -> list[Step]:
    """The plain loop and the steps after it, each with all parts of those before."""
    full = embedding(encoder(shape, machine.device, torch.float32))
    half_model = encoder(shape, machine.device, torch.bfloat16)

    def fast(name: str, parts: Parts, *, graphs: bool) -> Step:
        device = DeviceBatches(parts, machine.accelerator(), cuda_graphs=graphs)
        return Step(name, overlapped(device, waiter), lambda: "; ".join(told.how for told in device.told()))

    in_turn = DeviceBatches(full, machine.accelerator())
    made = [
        Step("plain loop, float32", plain(full, machine, pinned=False)),
        Step("+ pinned memory", plain(full, machine, pinned=True)),
        Step("+ one copy each way", lambda batches: [in_turn(batch) for batch in batches]),
        fast("+ copies beside computing", full, graphs=False),
        fast("+ CUDA graphs", full, graphs=True),
        fast("+ bfloat16", embedding(half_model), graphs=True),
    ]
    if with_compile:
        run, _ = compiled(half_model, "default", device="cuda", cuda_graphs=True, compile=machine.compile)
        made.append(fast("+ torch.compile", embedding(run), graphs=True))
    return made


def bare(shape: Shape, machine: Machine, batches: Sequence[list[Text]]) -> Callable[[], None]:
    """The model alone in float32, with inputs already on the device and outputs left there: an upper bound."""
    parts = embedding(encoder(shape, machine.device, torch.float32))
    there = [{n: t.to(machine.device) for n, t in parts.collate(batch).items()} for batch in batches]

    @torch.inference_mode()
    def run() -> None:
        for tensors in there:
            parts.forward(tensors)
        machine.synchronize()

    return run


def ladder(
    shape: Shape, machine: Machine, *, batch: int, batches: int, rounds: int, with_compile: bool
) -> Iterable[Rung]:
    """Measures each step on the same batches, in turns.

    Args:
        shape: sizes of the model.
        machine: the device to measure on.
        batch: texts in a batch.
        batches: batches in a round.
        rounds: rounds after the first, which is not counted: in it graphs are recorded and kernels compiled.
        with_compile: whether `torch.compile` is a step too; it takes a minute.
    """
    texts = drawn(shape, batch, batches)
    with ExitStack() as stack:
        waiter = stack.enter_context(ThreadPoolExecutor(max_workers=1))
        todo = steps(shape, machine, waiter, with_compile=with_compile)
        alone = bare(shape, machine, texts)
        results = {step.name: step.answer(texts) for step in todo}
        alone()
        seconds: dict[str, list[float]] = {name: [] for name in (*results, "the model alone, float32")}
        for _ in range(rounds):
            for step in todo:
                seconds[step.name].append(_timed(partial(step.answer, texts), machine))
            seconds["the model alone, float32"].append(_timed(alone, machine))
        about = {step.name: step.about() for step in todo}
    return _rungs(seconds, results, about, batch * batches)


def _timed(run: Callable[[], object], machine: Machine) -> float:
    machine.synchronize()
    start = machine.clock()
    run()
    machine.synchronize()
    return machine.clock() - start


def _rungs(
    seconds: Mapping[str, Sequence[float]], results: Mapping[str, Any], about: Mapping[str, str], texts: int
) -> list[Rung]:
    first, *_ = seconds
    right = torch.tensor([row for batch in results[first] for row in batch])
    rungs = []
    for name, spent in seconds.items():
        ratios = [base / own for base, own in zip(seconds[first], spent, strict=True)]
        got = results.get(name)
        off = 0.0 if got is None else float((torch.tensor([r for b in got for r in b]) - right).abs().max())
        rate = texts / statistics.median(spent)
        rungs.append(Rung(name, rate, statistics.median(ratios), (min(ratios), max(ratios)), off, about.get(name, "")))
    return rungs
