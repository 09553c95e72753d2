"""Random services as tasks, from which the shipped surfaces are learned. Nothing here is a measurement.

Two families, batch inference (`cluster.emulated.roofline`) and generation (`cluster.emulated.generation`), over random
spaces: GPUs that are given and invented ones like them; knobs that are in the space or fixed at a value that the task
does not show; and in a third of the spaces a knob of unknown meaning, such as an engine. Each service deviates from the
formulas by its own software: efficiencies, overheads, GPUs on which it is slower (`emulated_parts`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from cluster.catalogue import CATALOGUE, NO_GPU_FEATURES
from cluster.emulated.generation import serve
from cluster.emulated.profiles import random_profiles
from cluster.gpus import FEATURE_NAMES, Gpu
from raytune_infer.priors.emulated_parts import (
    UNKNOWN_KNOB,
    between,
    random_cards,
    random_language_model,
    random_runtime,
    random_software,
)
from raytune_infer.priors.emulated_tasks import (
    batches,
    cores,
    numbers,
    random_architecture,
    some,
    space_values,
    time_batches,
)
from raytune_infer.spec.standard_knobs import NO_GPU, PRECISION_BITS, encode
from searchers.base import Observation, Task
from searchers.space import Knob, Space, Value

_GENERATION_SHARE = 0.6
_LEAST_RUNNING = 8
_TRIES = 50


def random_service(rng: np.random.Generator, configurations: int = 160, gpus: Sequence[Gpu] = CATALOGUE) -> Task:
    """Draw a service of either family, evaluated on at most `configurations` random configurations of its space.

    At least eight of them run, or all if there are fewer: a service that can hardly run teaches nothing else. Its GPUs
    are some of `gpus`: with others, or in another order, the same random numbers draw another service.
    """
    for _ in range(_TRIES):
        family = random_generation if rng.random() < _GENERATION_SHARE else random_batch_inference
        task = family(rng, configurations, gpus)
        if sum(o.metrics is not None for o in task.observed) >= min(_LEAST_RUNNING, len(task.observed)):
            return task
    raise AssertionError(f"{_TRIES} services in a row cannot run; are their ranges still sensible?")


def random_generation(rng: np.random.Generator, configurations: int = 160, gpus: Sequence[Gpu] = CATALOGUE) -> Task:
    """Draw a language model on an engine with continuous batching; metrics `rps`, `ttft_ms`, `tpot_ms`, `p99_ms`."""
    model, runtime = random_language_model(rng), random_runtime(rng)
    input_tokens, output_tokens = (float(round(between(rng, *r))) for r in ((16, 8192), (8, 2048)))
    cards = random_cards(rng, gpus, int(rng.integers(2, 10)))
    knobs = [_gpu_knob(cards)]
    sometimes: list[tuple[float, str, Callable[[], tuple[Value, ...]]]] = [
        (0.9, "num_gpus", lambda: some(rng, [1, 2, 4, 8], 2, 4)),
        (0.95, "max_batch_size", lambda: some(rng, [2**i for i in range(9)], 4, 9)),
        (0.2, "precision", lambda: some(rng, ["float16", "bfloat16", "int8"], 2, 3)),
    ]
    knobs += [encode(name, values()) for share, name, values in sometimes if rng.random() < share]
    hidden = {"num_gpus": float(rng.choice([1, 1, 2, 4, 8])), "max_batch_size": float(rng.choice([8, 32, 128]))}
    software, unknown = random_software(rng, cards, overhead_s=(1e-4, 1e-2))
    space = Space([*knobs, *unknown])
    chosen, column = _draw(rng, space, configurations)

    rows: list[Mapping[str, float] | None] = [None] * len(chosen)
    gpu_count, slots = (numbers(column, name, len(chosen), hidden[name]) for name in hidden)
    for at, card, precision, option in _groups(column, len(chosen), "float16"):
        effect = software.options[option]
        if card in effect.refused:
            continue
        speed = software.speed[card] * effect.speed
        made = serve(
            model, cards[card], input_tokens=input_tokens, output_tokens=output_tokens,
            num_gpus=gpu_count[at], max_batch_size=slots[at], precision=precision,
            runtime=replace(
                runtime, step_s=runtime.step_s + effect.overhead_s,
                compute_efficiency=runtime.compute_efficiency * speed,
                memory_efficiency=runtime.memory_efficiency * speed,
            ),
        )  # fmt: skip
        figures = (made.rps, 1e3 * made.ttft_s, 1e3 * made.tpot_s, 1e3 * made.latency_s)
        for i, runs, *row in zip(at, made.runs, *figures, strict=True):
            if runs:
                rows[i] = _noisy(rng, software.noise, ("rps", "ttft_ms", "tpot_ms", "p99_ms"), row)
    facts = {
        "parameters_billion": model.parameters / 1e9,
        "active_parameters_billion": model.active_parameters / 1e9,
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
    }
    return _task("generation", space, chosen, rows, facts)


def random_batch_inference(
    rng: np.random.Generator, configurations: int = 160, gpus: Sequence[Gpu] = CATALOGUE
) -> Task:
    """Draw a model that answers whole batches, on shares of GPUs or on CPU cores alone; metrics `rps`, `p99_ms`."""
    profile = random_profiles(rng, 1)[0] if rng.random() < 0.3 else random_architecture(rng)
    cards = random_cards(rng, gpus, int(rng.integers(1, 6))) if rng.random() < 0.85 else {}
    knobs = [_gpu_knob(cards, or_none=rng.random() < 0.2)] if cards else []
    shares = [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0]
    precisions = list(PRECISION_BITS) if cards else ["float32", "int8"]
    sometimes: list[tuple[float, str, Callable[[], tuple[Value, ...]]]] = [
        (0.8, "cpu_cores", lambda: cores(rng)),
        (0.95, "max_batch_size", lambda: batches(rng)),
        (0.5 if cards else 0.0, "gpu_memory", lambda: some(rng, shares, 2, 6)),
        (0.3 if cards else 0.0, "gpu_share", lambda: some(rng, shares[1:], 2, 5)),
        (0.3, "precision", lambda: some(rng, precisions, 2, 4)),
    ]
    knobs += [encode(name, values()) for share, name, values in sometimes if rng.random() < share]
    software, unknown = random_software(rng, cards, overhead_s=(1e-5, 1e-2))
    if not knobs and not unknown:
        return random_batch_inference(rng, configurations, gpus)
    space = Space([*knobs, *unknown])
    timing = time_batches(profile, space, lambda name: cards[name])
    chosen, column = _draw(rng, space, configurations)

    rows: list[Mapping[str, float] | None] = [None] * len(chosen)
    for at, card, _, option in _groups(column, len(chosen), "float32"):
        effect = software.options[option]
        if card in effect.refused:
            continue
        service_s = timing.service_s[chosen[at]] / (software.speed[card] * effect.speed) + effect.overhead_s
        for i, s in zip(at, service_s, strict=True):
            if timing.fits[chosen[i]]:
                row = (timing.batch[chosen[i]] / s, 2e3 * s)
                rows[i] = _noisy(rng, software.noise, ("rps", "p99_ms"), row)
    facts = {"gflop_per_item": profile.flops / 1e9, "parameters_million": profile.weight_bytes / 4 / 1e6}
    return _task("batch inference", space, chosen, rows, facts)


def _gpu_knob(cards: Mapping[str, Gpu], or_none: bool = False) -> Knob:
    features = {name: card.features() for name, card in cards.items()} | ({NO_GPU: NO_GPU_FEATURES} if or_none else {})
    return Knob("gpu_type", tuple(features), "categorical", FEATURE_NAMES, tuple(features.values()))


def _draw(rng: np.random.Generator, space: Space, count: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Draw positions of at most `count` distinct configurations, and return each knob's value in them."""
    chosen = rng.permutation(len(space))[:count]
    return chosen, {name: values[chosen] for name, values in space_values(space).items()}


def _groups(column: Mapping[str, np.ndarray], n: int, precision: str) -> list[tuple[np.ndarray, str, str, str]]:
    """Group rows with the same GPU type, precision and option: their indices, and the three values."""
    of = {"gpu_type": NO_GPU, "precision": precision, UNKNOWN_KNOB: ""}
    names = np.stack([np.asarray(column.get(k, np.full(n, default)), dtype=str) for k, default in of.items()], axis=1)
    kinds, member = np.unique(names, axis=0, return_inverse=True)
    return [(np.flatnonzero(member.ravel() == i), *(str(v) for v in kind)) for i, kind in enumerate(kinds)]  # type: ignore[misc]


def _noisy(
    rng: np.random.Generator, noise: float, names: tuple[str, ...], values: tuple[float, ...] | list[float]
) -> dict[str, float]:
    factors = np.exp(rng.normal(0, noise, len(names)))
    return {name: float(v * f) for name, v, f in zip(names, values, factors, strict=True)}


def _task(
    name: str, space: Space, chosen: np.ndarray, rows: list[Mapping[str, float] | None], facts: Mapping[str, float]
) -> Task:
    observed = tuple(Observation(int(p), row) for p, row in zip(chosen, rows, strict=True))
    return Task(name, space, observed, facts)
