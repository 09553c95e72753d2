"""The parts of a fast replica, switched on one after another: what each is worth on this GPU.

All steps take turns in each round, so that a GPU that grows warm slows all of them; a ratio is the median over rounds
of a step's rate as a multiple of the plain loop's in the same round.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from benchmarks.gpu.encoders import Shape, Text, drawn, embedding, encoder
from serve_deployments.batches.accelerator import Accelerator
from serve_deployments.batches.batch_parts import Parts
from serve_deployments.batches.device_batches import IN_FLIGHT, DeviceBatches
from serve_deployments.models.compiling import compiled

Results = list[list[float]]
Answer = Callable[[Sequence[list[Text]]], list[Results]]
"""Batches one after another → the results of each."""


@dataclass(frozen=True)
class Machine:
    """Where to measure.

    Args:
        device: torch's name of it.
        accelerator: a new one.
        synchronize: waits until the device has nothing left to do.
        clock: seconds.
        compile: `torch.compile`, or what stands in for it.
    """

    device: str
    accelerator: Callable[[], Accelerator]
    synchronize: Callable[[], None]
    clock: Callable[[], float]
    compile: Callable[..., Any]


@dataclass(frozen=True)
class Step:
    """One more part switched on.

    Args:
        name: what was added.
        answer: runs batches that way.
        about: what there is to say afterwards.
    """

    name: str
    answer: Answer
    about: Callable[[], str] = lambda: ""


@dataclass(frozen=True)
class Rung:
    """What a step came to.

    Args:
        name: of the step.
        rate: texts a second, median over rounds.
        ratio: to the plain loop, median of the rounds' ratios.
        worst: the least and the most of those.
        difference: the largest, of any number in the results, from those of the plain loop.
        about: what the step says.
    """

    name: str
    rate: float
    ratio: float
    worst: tuple[float, float]
    difference: float
    about: str


def plain(parts: Parts, machine: Machine, *, pinned: bool) -> Answer:
    """A copy for each tensor, there and back, and nothing else meanwhile."""

    @torch.inference_mode()
    def one(batch: list[Text]) -> Results:
        tensors = parts.collate(batch)
        if pinned:
            tensors = {name: t.pin_memory() if machine.device != "cpu" else t for name, t in tensors.items()}
        there = {name: t.to(machine.device, non_blocking=pinned) for name, t in tensors.items()}
        return parts.split({name: t.cpu() for name, t in parts.forward(there).items()})

    return lambda batches: [one(batch) for batch in batches]


def overlapped(device: DeviceBatches, waiter: ThreadPoolExecutor) -> Answer:
    """As a replica does it under load: one thread begins, another one waits for the results."""

    def answer(batches: Sequence[list[Text]]) -> list[Results]:
        begun: list[Future[Results]] = []
        for i, batch in enumerate(batches):
            if i >= IN_FLIGHT:
                begun[i - IN_FLIGHT].result()
            begun.append(waiter.submit(device.finish, device.begin(batch)))
        return [each.result() for each in begun]

    return answer


def steps(shape: Shape, machine: Machine, waiter: ThreadPoolExecutor, *, with_compile: bool) -> list[Step]:
    """The plain loop and what is added to it, each step with all that came before."""
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
    """The model alone, float32, its inputs on the device already and its outputs left there: no replica is faster."""
    parts = embedding(encoder(shape, machine.device, torch.float32))
    there = [{n: t.to(machine.device) for n, t in parts.collate(batch).items()} for batch in batches]

    @torch.inference_mode()
    def run() -> None:
        for tensors in there:
            parts.forward(tensors)
        machine.synchronize()

    return run


def ladder(
    shape: Shape, batch: int, machine: Machine, *, batches: int, rounds: int, with_compile: bool
) -> Iterable[Rung]:
    """Measure each step on the same batches, in turns.

    Args:
        shape: of the model.
        batch: texts in a batch.
        machine: where.
        batches: in a round.
        rounds: after one that is not counted, in which graphs are recorded and kernels compiled.
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
