"""What a model's totals and a roofline lead to expect of its metrics, before any trial of it or of its family.

The totals are the facts of a suite's tasks: FLOP, weights, traffic and kernels, as a profile of operators has them.
Rates of a CPU are fitted to the other families' tables; those of GPUs are the datasheets'. How far off the prediction
may be is what it is off for the other families, each predicted without itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy.optimize import least_squares

from benchmarks.search.emulated.paper_space import fits
from cluster.emulated.roofline import ModelProfile, Rates, batch_time_s, datasheet_rates
from raytune_infer.priors.emulated_tasks import space_values, time_batches
from raytune_infer.suites.suites import MeasuredTask, Suite
from searchers.base import ExpectedMetrics
from searchers.space import Space

BY = "the roofline"
TOTALS = ("gflop_per_item", "parameters_million", "traffic_mb_per_item", "kernels")
HOLD = 0.05
"""Weight of a rate's logarithm that no table determines, as in `planes.roofline_fit`."""


def expected_of(suite: Suite, task: str) -> ExpectedMetrics:
    """What is expected of a task's metrics by its facts and by the tables of other groups.

    Raises:
        ValueError: facts that are needed are missing, or a metric is neither `rps` nor `latency_ms`.
    """
    own = suite.tasks[task]
    others = tuple(suite.tasks[name] for name in suite.sources if suite.tasks[name].group != own.group)
    off = _errors(others)
    log_s = np.log(_seconds(own, others))
    batch = np.asarray(space_values(own.space)["max_batch_size"], dtype=float)
    levels, std = off
    # Of a family that is not among them, and from their mean, which is not exact either.
    level_std = float(np.std(levels, ddof=1) * np.sqrt(1 + 1 / len(levels)))
    log_s = log_s + float(np.mean(levels))
    mean = {"rps": np.log(batch) - log_s, "latency_ms": np.log(1e3 * _turns(others)) + log_s}
    runs = None
    if "gpu_type" in space_values(own.space):
        runs = np.where(fits(profile_of(own), own.space), 0.95, 0.05)
    deviation = dict.fromkeys(mean, np.full(len(own.space), std))
    return ExpectedMetrics(BY, mean, deviation, dict.fromkeys(mean, level_std), runs)


def profile_of(task: MeasuredTask) -> ModelProfile:
    """The profile that a task's facts describe."""
    if missing := [name for name in TOTALS if name not in task.facts]:
        raise ValueError(f"{task.name} has no {missing[0]} among its facts, so no roofline can predict it")
    facts = task.facts
    return ModelProfile(
        task.name, task.group, facts["gflop_per_item"] * 1e9, facts["parameters_million"] * 4e6,
        facts.get("held_mb_per_item", 1e-3) * 1e6, facts["traffic_mb_per_item"] * 1e6, facts["kernels"],
        facts.get("host_ms_per_item", 1e-6) / 1e3, "facts",
    )  # fmt: skip


def _seconds(task: MeasuredTask, others: Sequence[MeasuredTask]) -> np.ndarray:
    """`[n]` predicted seconds of a batch in each configuration of a task's space."""
    if "gpu_type" in space_values(task.space):
        return time_batches(profile_of(task), task.space).service_s
    return _on_cpu(profile_of(task), task.space, _rates(tuple(others)))


def _on_cpu(profile: ModelProfile, space: Space, rates: Rates) -> np.ndarray:
    column = space_values(space)
    batch, cores = (np.asarray(column[name], dtype=float) for name in ("max_batch_size", "cpu_cores"))
    out = np.empty(len(space))
    for precision in np.unique(column["precision"]):
        at = column["precision"] == precision
        out[at] = batch_time_s(
            profile, rates, batch=batch[at], units=cores[at], bandwidth_units=cores[at], precision=str(precision)
        )
    return out


@lru_cache(maxsize=64)
def _rates(tables: tuple[MeasuredTask, ...]) -> Rates:
    """Rates of a core, by least squares of the logarithm of time; every table has the same weight."""
    start = datasheet_rates(None)
    precisions = sorted({str(p) for table in tables for p in space_values(table.space)["precision"]} | {"float32"})

    def rates(logs: np.ndarray) -> Rates:
        *flops, bytes_s, launch_s = np.exp(logs)
        return Rates(dict(zip(precisions, flops, strict=True)), bytes_s, launch_s, fill_s=0.0)

    flops = [start.flops.get(precision, start.flops["float32"]) for precision in precisions]
    begin = np.log([*flops, start.bytes_s, start.launch_s + start.fill_s])

    def residuals(logs: np.ndarray) -> np.ndarray:
        errors = [_off(table, _on_cpu(profile_of(table), table.space, rates(logs))) for table in tables]
        return np.concatenate([*(each / np.sqrt(len(each)) for each in errors), HOLD * (logs - begin)])

    return rates(least_squares(residuals, begin).x)


def _off(table: MeasuredTask, seconds: np.ndarray) -> np.ndarray:
    """`[ran]` ln of measured over predicted seconds of a batch, where it ran."""
    ran = np.array([metrics is not None for metrics in table.metrics])
    rps = np.array([metrics["rps"] for metrics in table.metrics if metrics is not None])
    batch = np.asarray(space_values(table.space)["max_batch_size"], dtype=float)
    return np.log(batch[ran] / rps) - np.log(seconds[ran])


@lru_cache(maxsize=64)
def _errors(tables: tuple[MeasuredTask, ...]) -> tuple[np.ndarray, float]:
    """`[G]` levels by which groups are off when predicted without themselves, and what is off beside the level."""
    levels: dict[str, list[float]] = {}
    squares = []
    for table in tables:
        off = _off(table, _seconds(table, [other for other in tables if other.group != table.group]))
        levels.setdefault(table.group, []).append(float(off.mean()))
        squares.append(float(off.var()))
    return np.array([np.mean(each) for each in levels.values()]), float(np.sqrt(np.mean(squares)))


def _turns(tables: Sequence[MeasuredTask]) -> float:
    """How many batches a request waits for by the latency of tables, the median: 1 in a bare loop, 2 behind another."""
    found = [
        m["latency_ms"] / 1e3 * m["rps"] / float(batch)
        for table in tables
        for m, batch in zip(table.metrics, space_values(table.space)["max_batch_size"], strict=True)
        if m is not None
    ]
    return float(np.median(found))
