"""The 1,440 configurations of Falcon's evaluation (SoCC 2022) as an emulated suite: a model of each of 15 families.

A model is a service by the roofline of `cluster.emulated`, but not quite: what it launches and moves, and how well its
kernels suit each GPU, differs by factors that its own totals do not tell. Nothing here is a measurement.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cluster.emulated import roofline
from cluster.emulated.profiles import PROFILES
from cluster.emulated.roofline import ModelProfile
from cluster.prices import load_prices
from raytune_infer.priors.emulated_tasks import space_values, time_batches
from raytune_infer.spec.standard_knobs import encode
from raytune_infer.suites.suites import MeasuredTask, Suite
from searchers.objective import Expression, Metrics, Objective
from searchers.space import Space

NAME = "emulated-falcon"
KNOBS = {
    "max_batch_size": (4, 8, 16, 32, 64, 128),
    "cpu_cores": (1, 2, 3, 4, 5),
    "gpu_memory_gib": (0.8, 1.2, 1.6, 2.4),
    "gpu_share": (0.5, 0.75, 1.0),
    "gpu_type": ("K80", "M60", "T4", "V100"),
}
"""The paper's space."""
DEVIATION, SUITS, NOISE = 0.4, 0.15, 0.03
"""Standard deviations of logarithms: of a model's launches, traffic and memory from its profile's, of how a GPU suits
it, and of a measurement. Our choice, before any search was run: fusing halves traffic, and kernels differ by tenths."""


def paper_suite() -> Suite:
    """The suite, the same whenever and wherever it is made; tasks are named for their models, groups for families."""
    space = Space([encode(name, values) for name, values in KNOBS.items()])
    usd = _usd_per_hour(space)
    middle = [members[len(members) // 2] for members in _families().values()]
    tasks = {
        profile.name: _task(profile, space, usd, np.random.default_rng([4, number]))
        for number, profile in enumerate(middle)
    }
    goal = Expression("rps / usd_per_hour")
    limits = {"free": Objective(goal), "limited": Objective(goal, at_most={"latency_ms": 200.0})}
    return Suite(NAME, limits, tasks, tuple(tasks))


def profile_facts(profile: ModelProfile) -> dict[str, float]:
    """What is known of a model before its first trial: the totals of its operators."""
    return {
        "gflop_per_item": profile.flops / 1e9,
        "parameters_million": profile.weight_bytes / 4e6,
        "traffic_mb_per_item": profile.traffic_bytes / 1e6,
        "kernels": profile.kernels,
        "held_mb_per_item": profile.activation_bytes / 1e6,
        "host_ms_per_item": profile.cpu_s * 1e3,
    }


def fits(profile: ModelProfile, space: Space) -> np.ndarray:
    """`[n]` whether a batch fits into the GPU memory that a configuration has."""
    column = space_values(space)
    return np.array(
        [
            roofline.memory_gib(profile, batch=float(batch)) <= float(memory)
            for batch, memory in zip(column["max_batch_size"], column["gpu_memory_gib"], strict=True)
        ]
    )


def _families() -> dict[str, list[ModelProfile]]:
    out: dict[str, list[ModelProfile]] = {}
    for profile in PROFILES:
        out.setdefault(profile.family, []).append(profile)
    return out


def _task(profile: ModelProfile, space: Space, usd: np.ndarray, rng: np.random.Generator) -> MeasuredTask:
    launches, traffic, held = np.exp(rng.normal(0, DEVIATION, 3))
    real = replace(
        profile, kernels=profile.kernels * launches, traffic_bytes=profile.traffic_bytes * traffic,
        activation_bytes=profile.activation_bytes * held,
    )  # fmt: skip
    timing = time_batches(real, space)
    suits = dict(zip(KNOBS["gpu_type"], np.exp(rng.normal(0, SUITS, 4)), strict=True))
    factor = np.array([suits[card] for card in space_values(space)["gpu_type"].tolist()])
    service_s = timing.service_s * factor * np.exp(rng.normal(0, NOISE, len(space)))
    runs = timing.fits & fits(real, space)
    metrics: tuple[Metrics | None, ...] = tuple(
        {"rps": b / s, "latency_ms": 2000 * s} if run else None
        for b, s, run in zip(timing.batch.tolist(), service_s.tolist(), runs.tolist(), strict=True)
    )
    return MeasuredTask(profile.name, profile.family, space, metrics, usd, profile_facts(profile))


def _usd_per_hour(space: Space) -> np.ndarray:
    book, column = load_prices(), space_values(space)
    rows = zip(column["cpu_cores"].tolist(), column["gpu_type"].tolist(), column["gpu_share"].tolist(), strict=True)
    return np.array([book.usd_per_hour(cpu_cores=cores, gpu_type=card, gpu_share=share) for cores, card, share in rows])
