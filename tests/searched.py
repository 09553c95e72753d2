"""A small problem whose surface has the structure of real ones, and replays of searches on it."""

from collections.abc import Callable
from typing import Any

import numpy as np

from searchers.base import Observation, Problem, Searcher, Task
from searchers.objective import Expression, Objective
from searchers.replay import MeasuredTable, replay
from searchers.space import Knob, Space

GPUS = {"T4": (8.0, 320.0, 0.5), "V100": (15.7, 900.0, 2.6), "M60": (4.8, 160.0, 0.6)}


def roofline_problem(objective: Objective | None = None) -> tuple[Problem, list[dict[str, float] | None]]:
    """5 cores × 3 GPUs × 8 batch sizes × 3 memory shares, and what each of the 360 measures.

    Requests per second are the least of what the cores can prepare and what the GPU can compute, whose
    efficiency grows with the batch; a large batch does not fit into a small share of memory.
    """
    space = Space([
        Knob("cpu_cores", (1, 2, 3, 4, 5)),
        Knob("gpu_type", tuple(GPUS), "categorical", ("log2_tflops", "log2_bandwidth"),
             tuple((float(np.log2(f)), float(np.log2(b))) for f, b, _ in GPUS.values())),
        Knob("max_batch_size", (1, 2, 4, 8, 16, 32, 64, 128)),
        Knob("gpu_memory", (0.1, 0.2, 0.4)),
    ])  # fmt: skip
    configs = [space[i] for i in range(len(space))]
    usd = np.array([_usd_per_hour(config) for config in configs])
    objective = objective or Objective(Expression("rps / usd_per_hour"))
    return Problem(space, objective, usd), [_measure(config) for config in configs]


def shifted_sources() -> tuple[Task, ...]:
    """Three models of other sizes, every configuration measured: the same shape, other optima and levels."""
    space = roofline_problem()[0].space
    tasks = []
    for size in (0.5, 0.8, 1.6):
        measured = [(_measure(config, size), _usd_per_hour(config)) for config in (space[i] for i in range(len(space)))]
        observed = (Observation(i, m and {**m, "usd_per_hour": usd}) for i, (m, usd) in enumerate(measured))
        tasks.append(Task(f"{size} times as large", space, tuple(observed)))
    return tuple(tasks)


def _usd_per_hour(config: dict[str, Any]) -> float:
    return 0.034 * config["cpu_cores"] + GPUS[config["gpu_type"]][2] * config["gpu_memory"]


def _measure(config: dict[str, Any], size: float = 1.0) -> dict[str, float] | None:
    tflops, bandwidth, _ = GPUS[config["gpu_type"]]
    batch = config["max_batch_size"]
    if 0.5 * size + 0.03 * size * batch > 16 * config["gpu_memory"]:
        return None
    batch_s = 0.002 + size * max(batch * 0.008 / tflops, 0.4 / bandwidth)
    rps = 1 / (1 / (150 * config["cpu_cores"]) + batch_s / batch)
    return {"rps": rps, "p99_ms": 2000 * batch_s}


def search(
    problem: Problem, table: list[dict[str, float] | None], make: Callable[[Problem], Searcher], trials: int, seed: int
) -> list[int]:
    """The positions that a searcher measures, in order."""
    return [
        step.position for step in replay(MeasuredTable(problem, tuple(table)), make(problem), budget=trials, seed=seed)
    ]


def best_after(problem: Problem, table: list[dict[str, float] | None], positions: list[int]) -> float:
    """The best value among these positions as a fraction of the table's."""
    values = MeasuredTable(problem, tuple(table)).values()
    return values[positions].max() / values.max()
