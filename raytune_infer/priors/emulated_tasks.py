"""Emulated services on emulated hardware, on which searchers are trained and evaluated.

A space of the standard knobs, a model's profile, the requests per second of the roofline model and a price book are
combined into a Problem with a complete table. Nothing here is a measurement.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cluster.emulated import roofline
from cluster.emulated.profiles import random_profiles
from cluster.emulated.roofline import ModelProfile
from cluster.gpu_names.gpu_names import find
from cluster.gpus import Gpu
from cluster.prices import PriceBook
from raytune_infer.spec.demand import placings, price
from raytune_infer.spec.standard_knobs import NO_GPU, PRECISION_BITS, encode
from searchers.base import Problem
from searchers.objective import Expression, Metrics, Objective
from searchers.replay import MeasuredTable
from searchers.space import Space, Value

PAPER_KNOBS: Mapping[str, tuple[Value, ...]] = {
    "cpu_cores": (1, 2, 3, 4, 5),
    "gpu_type": ("T4", "V100", "M60"),
    "gpu_memory": (0.05, 0.10, 0.15, 0.20, 0.30, 0.40),
    "max_batch_size": (1, 2, 4, 8, 16, 32, 64, 128),
}
"""The 720 configurations of Morphling's evaluation (SoCC 2021)."""


def emulate(
    profile: ModelProfile, knobs: Mapping[str, Sequence[Value]], objective: Objective, prices: PriceBook
) -> MeasuredTable:
    """Emulate a model as a service over all combinations of these knobs.

    It costs what a real one does (`demand.price`): a part of a GPU where its share of the compute (`gpu_share`) is held
    back, else all of it. The memory share (`gpu_memory`) limits what fits, not how fast it runs, as in the Morphling
    paper, which charged for it alone. The times are those of a replica alone on its share, as a search measures it. The
    default of a knob that is left out is one core, no GPU, the whole GPU, batches of 1, float32.
    """
    space = Space([encode(name, values) for name, values in knobs.items()])
    timing = time_batches(profile, space)
    return MeasuredTable(Problem(space, objective, _usd_per_hour(space, prices)), timing.metrics())


@dataclass(frozen=True)
class Timing:
    """Timing of a model on every configuration of a space.

    Args:
        batch: `[n]` items in a batch.
        service_s: `[n]` seconds that a batch takes.
        fits: `[n]` whether the model fits in the replica's memory.
    """

    batch: np.ndarray
    service_s: np.ndarray
    fits: np.ndarray

    def metrics(self) -> tuple[Metrics | None, ...]:
        """Return the metrics of a trial; a request waits for the batch before its own, then for its own batch."""
        return tuple(
            {"rps": b / s, "p99_ms": 2000 * s} if fit else None
            for b, s, fit in zip(self.batch, self.service_s, self.fits, strict=True)
        )


def time_batches(profile: ModelProfile, space: Space, card: Callable[[str], Gpu] = find) -> Timing:
    """Evaluate the roofline model on every configuration of a space.

    Args:
        profile: profile of the served model.
        space: a space of the knobs that `emulate` takes.
        card: value of `gpu_type` → GPU; by default from the catalogue.
    """
    column, n = space_values(space), len(space)
    cores, batch = numbers(column, "cpu_cores", n, 1), numbers(column, "max_batch_size", n, 1)
    share, memory = numbers(column, "gpu_share", n, 1), numbers(column, "gpu_memory", n, 1)
    gpu_types = column.get("gpu_type", np.full(n, NO_GPU))
    precisions = column.get("precision", np.full(n, "float32"))
    service_s, fits = np.zeros(n), np.ones(n, dtype=bool)
    for gpu_type in np.unique(gpu_types):
        gpu = None if gpu_type == NO_GPU else card(str(gpu_type))
        for precision in np.unique(precisions):
            at = (gpu_types == gpu_type) & (precisions == precision)
            service_s[at] = roofline.service_time_s(
                profile,
                gpu,
                batch=batch[at],
                cpu_cores=cores[at],
                gpu_share=share[at],
                precision=str(precision),
            )
            if gpu is not None and at.any():
                need = np.vectorize(lambda b, p=str(precision): roofline.memory_gib(profile, batch=b, precision=p))
                fits[at] = need(batch[at]) <= gpu.memory_gib * memory[at]
    return Timing(batch, service_s, fits)


def space_values(space: Space) -> dict[str, np.ndarray]:
    """Return knob → `[n]` its value in every configuration."""
    return {knob.name: np.array(knob.values)[space.ranks[:, i]] for i, knob in enumerate(space.knobs)}


def numbers(column: Mapping[str, np.ndarray], name: str, n: int, default: float) -> np.ndarray:
    """Return the `[n]` values of a numeric knob; the default if the space has no such knob."""
    return np.asarray(column.get(name, np.full(n, default)), dtype=float)


def _usd_per_hour(space: Space, prices: PriceBook) -> np.ndarray:
    """Return the `[n]` prices; each is computed once, as most knobs do not change it."""
    configs, which = placings(space)
    return np.array([price(config, prices) for config in configs])[which]


def random_table(rng: np.random.Generator, books: Sequence[PriceBook]) -> MeasuredTable:
    """Draw a service with model, hardware, knobs, prices and objective, in which at least 2 % of configurations count.

    Half a dozen choices are drawn as a user might make them. Four of five spaces have GPUs.
    """
    while True:
        profile = random_profiles(rng, 1)[0] if rng.random() < 0.3 else random_architecture(rng)
        book = books[int(rng.integers(len(books)))]
        knobs = _gpu_knobs(rng, book) if rng.random() < 0.8 else _cpu_knobs(rng)
        table = emulate(profile, knobs, Objective(Expression("rps / usd_per_hour")), book)
        objective = _objective(rng, table)
        table = MeasuredTable(Problem(table.problem.space, objective, table.problem.usd_per_hour), table.metrics)
        values = table.values()
        if (values > 0).sum() >= max(2, 0.02 * len(values)):
            return table


def random_architecture(rng: np.random.Generator) -> ModelProfile:
    """Draw a transformer or a convolutional network of random size, with figures computed from its architecture.

    `random_profiles` draws each figure independently; here FLOP, weights and traffic are consistent, as in a network
    that could be built. Sizes are log-uniform over what is served in practice: our choice, no known model.

    Transformers: 12 d^2 parameters a layer, 2 FLOP each per token beside 4 n d for attention (Kaplan et al.
    2020, Table 1); outputs of 14 n d numbers and attention maps of n^2 per 64 channels. Convolutional
    networks: outputs and parameters are each spread around a power of the FLOP.
    """

    def between(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    if rng.random() < 0.5:
        layers, width, tokens = between(2, 32), between(128, 4096), between(16, 512)
        flops = layers * (24 * width**2 * tokens + 4 * tokens**2 * width)
        layer_bytes = 4 * (14 * tokens * width + 2 * tokens**2 * width / 64)
        held, traffic, kernels = 2 * layer_bytes, layers * layer_bytes * between(2, 6), layers * between(8, 25)
        weights = 4 * (12 * layers * width**2 * between(0.1, 1) + between(1e6, 1e8))
        cpu_s = between(1e-4, 2e-3)
    else:
        flops, layers = between(2e8, 1e11), between(15, 300)
        output_bytes = 4e6 * 5 * (flops / 2e9) ** 0.6 * between(0.3, 3)
        held, traffic, kernels = output_bytes * between(0.2, 1), output_bytes * between(2, 6), layers * between(1, 4)
        weights, cpu_s = 4e7 * (flops / 2e9) ** 0.5 * between(0.2, 5), between(1e-3, 1e-2)
    return ModelProfile("random", "random", flops, weights, held, traffic, kernels, cpu_s, "random_architecture")


def _gpu_knobs(rng: np.random.Generator, book: PriceBook) -> dict[str, tuple[Value, ...]]:
    types = sorted(book.gpu_usd_per_hour)
    several = min(len(types), int(rng.choice([1, 2, 3, 4], p=[0.15, 0.2, 0.45, 0.2])))
    knobs: dict[str, tuple[Value, ...]] = {
        "cpu_cores": cores(rng),
        "gpu_type": tuple(rng.choice(types, several, replace=False).tolist()),
        "max_batch_size": batches(rng),
    }
    if rng.random() < 0.7:
        knobs["gpu_memory"] = some(rng, [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0], 2, 6)
    if rng.random() < 0.3:
        knobs["gpu_share"] = some(rng, [0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0], 2, 4)
    if rng.random() < 0.25:
        knobs["precision"] = some(rng, list(PRECISION_BITS), 2, 4)
    return knobs


def _cpu_knobs(rng: np.random.Generator) -> dict[str, tuple[Value, ...]]:
    knobs: dict[str, tuple[Value, ...]] = {"cpu_cores": cores(rng), "max_batch_size": batches(rng)}
    if rng.random() < 0.3:
        knobs["precision"] = some(rng, ["float32", "int8"], 2, 2)
    return knobs


def cores(rng: np.random.Generator) -> tuple[Value, ...]:
    """Draw numbers of CPU cores that a user might offer."""
    most = int(rng.choice([4, 5, 6, 8]))
    return tuple(range(1, most + 1)) if rng.random() < 0.6 else some(rng, [1, 2, 4, 6, 8, 12, 16], 3, 6)


def batches(rng: np.random.Generator) -> tuple[Value, ...]:
    """Draw batch sizes 1, 2, 4, … up to a largest one of 32 to 256."""
    return tuple(2**i for i in range(int(rng.integers(5, 9)) + 1))


def some(rng: np.random.Generator, values: Sequence[Value], least: int, most: int) -> tuple[Value, ...]:
    """Draw `least` to `most` of the values at random, kept in their order."""
    count = int(rng.integers(least, min(most, len(values)) + 1))
    return tuple(values[i] for i in sorted(rng.choice(len(values), count, replace=False)))


def _objective(rng: np.random.Generator, table: MeasuredTable) -> Objective:
    """Draw an objective: mostly requests per dollar, sometimes requests alone; a quarter have a latency limit."""
    goal = Expression("rps / usd_per_hour" if rng.random() < 0.8 else "rps")
    latencies = [m["p99_ms"] for m in table.metrics if m is not None]
    if not latencies or rng.random() < 0.75:
        return Objective(goal)
    low, high = np.log(np.quantile(latencies, 0.2)), np.log(max(latencies))
    return Objective(goal, at_most={"p99_ms": math.exp(rng.uniform(low, high))})
