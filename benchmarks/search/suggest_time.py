"""Seconds that one suggestion takes, among a thousand configurations and among a million.

    python -m benchmarks suggest_time [--searchers NAME...] [--limit 60]

The space has six knobs and the service is a formula (the roofline of `cluster`), so that only the searcher is timed.
Its history is 20 random trials, and it may learn from four other services of which 100 configurations each were
measured. Each suggestion is for another history, so that nothing cached from the one before is timed.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from time import perf_counter

import numpy as np
import torch

from benchmarks.recording.arguments import recording_parser_of
from benchmarks.recording.origin import Origin
from benchmarks.recording.sections import markdown, put
from cluster.catalogue import CATALOGUE
from cluster.emulated.profiles import PROFILES
from cluster.emulated.roofline import ModelProfile
from raytune_infer.priors.emulated_tasks import time_batches
from raytune_infer.spec.standard_knobs import encode
from searchers.base import History, Observation, Problem, Task
from searchers.objective import Expression, Objective
from searchers.registry import NAMED, named
from searchers.space import Knob, Space
from serve_deployments.environment.temporary import environment

KNOBS = ("cpu_cores", "gpu_type", "gpu_memory", "gpu_share", "max_batch_size", "precision")
SIZES: Mapping[int, tuple[int, ...]] = {1_000: (5, 2, 5, 2, 5, 2), 1_000_000: (20, 10, 25, 5, 10, 4)}
"""Number of configurations → number of values of each knob."""
TRIALS, SOURCES, MEASURED = 20, 4, 100
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def knobs(sizes: Sequence[int]) -> list[Knob]:
    """The six knobs with these numbers of values."""
    cores, types, memories, shares, batches, precisions = sizes
    values = (
        tuple(range(1, cores + 1)),
        tuple(gpu.name for gpu in CATALOGUE)[:types],
        tuple((i + 1) / memories for i in range(memories)),
        tuple((i + 1) / shares for i in range(shares)),
        tuple(2**i for i in range(batches)),
        ("float32", "float16", "bfloat16", "int8")[:precisions],
    )
    return [encode(name, each) for name, each in zip(KNOBS, values, strict=True)]


def observed(space: Space, profile: ModelProfile, positions: Sequence[int]) -> tuple[Observation, ...]:
    """The measurements of trials of some configurations, by the roofline."""
    # Only these are emulated: a million configurations would take longer than any suggestion.
    few = Space(space.knobs, [space[position] for position in positions])
    metrics = time_batches(profile, few).metrics()
    return tuple(Observation(p, metrics[few.position(space[p])]) for p in positions)


def setting(size: int) -> tuple[Problem, ModelProfile]:
    """The problem with so many configurations, and the model whose service is searched."""
    space = Space(knobs(SIZES[size]))
    model, *others = PROFILES[:: len(PROFILES) // (SOURCES + 1)][: SOURCES + 1]
    rng = np.random.default_rng(0)
    sources = tuple(
        Task(other.name, space, observed(space, other, rng.choice(size, MEASURED, replace=False).tolist()))
        for other in others
    )
    return Problem(space, Objective(Expression("rps"), at_most={"p99_ms": 500}), sources=sources), model


@dataclass(frozen=True)
class Timed:
    """The time that a searcher took.

    Args:
        making_s: seconds to construct it, learning from other services included.
        suggest_s: seconds of each suggestion.
        wrong: why there are no figures; empty if there are.
    """

    making_s: float = 0.0
    suggest_s: tuple[float, ...] = ()
    wrong: str = ""

    def cells(self) -> list[str]:
        """Cells of a table: seconds of construction, and the median of the suggestions."""
        if self.wrong:
            return ["–", self.wrong]
        return [f"{self.making_s:.3f}", f"{statistics.median(self.suggest_s):.3f}"]


def timed(searcher: str, size: int, repeats: int, limit_s: float, memory_gib: float) -> Timed:
    """Times one searcher in a process of its own, which is ended when a step takes longer than the limit."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_time, args=(theirs, searcher, size, repeats, memory_gib), daemon=True)
    with environment(ONE_THREAD):
        process.start()
    theirs.close()
    try:
        if not _ready(ours):
            raise AssertionError("the space itself could not be built; see its error above")
        making_s, seconds = _next(ours, limit_s), []
        for _ in range(repeats):
            seconds.append(_next(ours, limit_s))
        return Timed(making_s, tuple(seconds))
    except TimeoutError:
        return Timed(wrong=f"skipped: more than {limit_s:g} s")
    except EOFError:
        return Timed(wrong="its process was killed")
    except RuntimeError as error:
        return Timed(wrong=str(error))
    finally:
        process.terminate()
        process.join()


def _ready(pipe: Connection) -> bool:
    """Waits for the space to be built, which is not the searcher's time; False if the process ended before."""
    try:
        pipe.recv()
    except EOFError:
        return False
    return True


def _next(pipe: Connection, limit_s: float) -> float:
    if not pipe.poll(limit_s):
        raise TimeoutError
    answer = pipe.recv()
    if isinstance(answer, str):
        raise RuntimeError(answer)
    return float(answer)


def _time(pipe: Connection, searcher: str, size: int, repeats: int, memory_gib: float) -> None:
    """What the process runs: it reports that it is ready, then the seconds of construction and of each suggestion."""
    _limit_memory(memory_gib)
    torch.set_num_threads(1)
    problem, model = setting(size)
    rng = np.random.default_rng(1)
    histories = [
        History(observed(problem.space, model, rng.choice(size, TRIALS, replace=False).tolist()))
        for _ in range(repeats)
    ]
    make = named(searcher)
    pipe.send(None)
    try:
        start = perf_counter()
        made = make(problem)
        pipe.send(perf_counter() - start)
        for i, history in enumerate(histories):
            start = perf_counter()
            made.suggest(history, np.random.default_rng([0, i]))
            pipe.send(perf_counter() - start)
    except MemoryError:
        pipe.send(f"needs more than {memory_gib:g} GiB")
    except Exception as error:
        out_of_memory = "memory" in str(error).lower()
        pipe.send(f"needs more than {memory_gib:g} GiB" if out_of_memory else f"fails: {type(error).__name__}")


def _limit_memory(gib: float) -> None:
    """Limits this process's address space, so that using more raises an error here and harms no other process."""
    import resource

    limit = int(gib * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def main(arguments: Sequence[str]) -> None:
    parser = recording_parser_of(__name__, __doc__)
    parser.add_argument("--searchers", nargs="+", default=sorted(NAMED), metavar="NAME", help="by default all")
    parser.add_argument("--sizes", nargs="+", type=int, choices=SIZES, default=list(SIZES), metavar="N")
    parser.add_argument("--repeats", type=int, default=5, help="suggestions, of which the median is shown")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds that any one step may take")
    parser.add_argument("--memory-gib", type=float, default=8.0, help="address space that a searcher may use")
    asked = parser.parse_args(arguments)
    rows = []
    for name in dict.fromkeys(asked.searchers):
        figures = [timed(name, size, asked.repeats, asked.limit, asked.memory_gib) for size in asked.sizes]
        rows.append([name, *(cell for figure in figures for cell in figure.cells())])
        print(" | ".join(rows[-1]), flush=True)
    header = ["searcher", *(f"{what}, n = {size:,}" for size in asked.sizes for what in ("making it", "a suggestion"))]
    about = (
        f"Seconds on one thread, median of {asked.repeats} suggestions after {TRIALS} trials; {SOURCES} other services "
        f"of {MEASURED} configurations each to learn from. Six knobs; the service is a formula. Making it "
        "happens once a study and includes importing its libraries."
    )
    put(asked.out, "Seconds of a suggestion", Origin.here(__name__, arguments), f"{about}\n\n{markdown(header, rows)}")
