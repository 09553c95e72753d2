"""Random services as tasks: what the shipped surfaces are learned from, and nothing of it a measurement.

Two families, batch inference (`cluster.roofline`) and generation (`cluster.generation`), over random spaces: cards
of the whole catalogue and cards that nobody built, knobs there or fixed at a value that the task does not tell,
and in a third of them a knob whose meaning nobody knows, such as an engine. Beside what the formulas say, each
service has its own software: efficiencies, overheads, cards that it likes less. All ranges are our choice, wide
enough to hold what is usual.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from cluster import gpus
from cluster.generation import HEAD_WIDTH, LanguageModel, Runtime, serve
from cluster.gpus import FEATURE_NAMES, NO_GPU_FEATURES, Gpu
from cluster.profiles import random_profiles
from raytune_infer.emulated_tasks import batches, cores, numbers, random_architecture, some, space_values, time_batches
from raytune_infer.encoding import NO_GPU, PRECISION_BITS, encode
from searchers.base import Observation, Task
from searchers.space import Knob, Space, Value

UNKNOWN_KNOB = "option"
"""A categorical knob that says nothing but its values' names."""

_GENERATION_SHARE = 0.6
_LEAST_RUNNING = 8
_TRIES = 50


@dataclass(frozen=True)
class Option:
    """What a value of the unknown knob does.

    Args:
        speed: factor on everything that the device does.
        overhead_s: host's time on top of each batch or step.
        refused: cards on which it does not run.
    """

    speed: float = 1.0
    overhead_s: float = 0.0
    refused: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Software:
    """What sets one service apart from the formula.

    Args:
        speed: card → factor on everything that it does; kernels suit some cards better than others.
        options: values of the unknown knob; one that changes nothing if the space has none.
        noise: standard deviation of the log of a measurement.
    """

    speed: Mapping[str, float]
    options: Mapping[str, Option]
    noise: float


def random_service(rng: np.random.Generator, configurations: int = 160) -> Task:
    """A random service of either family, measured on at most so many random configurations of its space.

    At least eight of them run: of a service that nearly nothing can run, nothing can be learned but that.
    """
    for _ in range(_TRIES):
        family = random_generation if rng.random() < _GENERATION_SHARE else random_batch_inference
        task = family(rng, configurations)
        if sum(o.metrics is not None for o in task.observed) >= min(_LEAST_RUNNING, len(task.observed)):
            return task
    raise AssertionError(f"{_TRIES} services in a row cannot run; are their ranges still sensible?")


def random_generation(rng: np.random.Generator, configurations: int = 160) -> Task:
    """A language model behind an engine with continuous batching; metrics `rps`, `ttft_ms`, `tpot_ms`, `p99_ms`."""
    model, runtime = random_language_model(rng), random_runtime(rng)
    input_tokens, output_tokens = (float(round(_between(rng, *r))) for r in ((16, 8192), (8, 2048)))
    cards = random_cards(rng, int(rng.integers(2, 10)))
    knobs = [_gpu_knob(cards)]
    sometimes: list[tuple[float, str, Callable[[], tuple[Value, ...]]]] = [
        (0.9, "num_gpus", lambda: some(rng, [1, 2, 4, 8], 2, 4)),
        (0.95, "max_batch_size", lambda: some(rng, [2**i for i in range(9)], 4, 9)),
        (0.2, "precision", lambda: some(rng, ["float16", "bfloat16", "int8"], 2, 3)),
    ]
    knobs += [encode(name, values()) for share, name, values in sometimes if rng.random() < share]
    hidden = {"num_gpus": float(rng.choice([1, 1, 2, 4, 8])), "max_batch_size": float(rng.choice([8, 32, 128]))}
    software, unknown = _software(rng, cards, overhead_s=(1e-4, 1e-2))
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


def random_batch_inference(rng: np.random.Generator, configurations: int = 160) -> Task:
    """A model that answers whole batches, on shares of cards or on cores alone; metrics `rps` and `p99_ms`."""
    profile = random_profiles(rng, 1)[0] if rng.random() < 0.3 else random_architecture(rng)
    cards = random_cards(rng, int(rng.integers(1, 6))) if rng.random() < 0.85 else {}
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
    software, unknown = _software(rng, cards, overhead_s=(1e-5, 1e-2))
    if not knobs and not unknown:
        return random_batch_inference(rng, configurations)
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


def random_language_model(rng: np.random.Generator) -> LanguageModel:
    """A decoder of 0.3 to 400 billion parameters; two of five are mixtures of experts.

    12 L d^2 parameters in the blocks (Kaplan et al. 2020, Table 1) and a width of 50 to 140 layers' count give
    L and d; the dense equivalent of a mixture is taken as the mean of all and active (geometric). Keys have 1
    to 1/16 of the width.
    """
    parameters = _between(rng, 3e8, 4e11)
    experts, used, active = 1.0, 1.0, parameters
    if rng.random() < 0.4:
        experts = float(rng.choice([8, 16, 32, 64, 128, 256]))
        used = float(rng.choice([k for k in (1, 2, 4, 8) if k <= experts / 4]))
        active = parameters * max(used / experts, 1 / _between(rng, 3, 25))
    slimness = _between(rng, 50, 140)
    layers = ((parameters * active) ** 0.5 / (12 * slimness**2)) ** (1 / 3)
    width = slimness * layers
    kv_width = max(HEAD_WIDTH, width * float(rng.choice([1, 1 / 2, 1 / 4, 1 / 8, 1 / 16], p=[0.2, 0.1, 0.3, 0.3, 0.1])))
    return LanguageModel(parameters, active, layers, width, min(kv_width, width), experts, used)


def random_runtime(rng: np.random.Generator) -> Runtime:
    """An engine: its efficiencies, its own time for each step, what it does with prompts and with too many."""
    return Runtime(
        compute_efficiency=_between(rng, 0.25, 0.75),
        memory_efficiency=_between(rng, 0.4, 0.9),
        link_efficiency=_between(rng, 0.3, 0.9),
        step_s=_between(rng, 2e-4, 2e-2),
        prompts_together=float(rng.choice([0.0, rng.random(), 1.0])),
        admits_what_fits=bool(rng.random() < 0.4),
    )


def random_cards(rng: np.random.Generator, count: int) -> dict[str, Gpu]:
    """Cards of the catalogue; in half of the cases cards like them, each figure off by a factor of about 1.3.

    f sees a card by four figures. Were they those of the catalogue alone, it could learn the catalogue by heart.
    """
    chosen = [gpus.CATALOGUE[i] for i in rng.choice(len(gpus.CATALOGUE), count, replace=False)]
    if rng.random() < 0.5:
        chosen = [_like(rng, card) for card in chosen]
    return {card.name: card for card in chosen}


def _like(rng: np.random.Generator, card: Gpu) -> Gpu:
    memory, bandwidth, *rates = np.exp(rng.normal(0, 0.25, 2 + len(card.peak_flops)))
    flops = {name: peak * factor for (name, peak), factor in zip(card.peak_flops.items(), rates, strict=True)}
    return replace(
        card, memory_gib=card.memory_gib * memory, bandwidth_gb_s=card.bandwidth_gb_s * bandwidth, peak_flops=flops
    )


def _gpu_knob(cards: Mapping[str, Gpu], or_none: bool = False) -> Knob:
    features = {name: card.features() for name, card in cards.items()} | ({NO_GPU: NO_GPU_FEATURES} if or_none else {})
    return Knob("gpu_type", tuple(features), "categorical", FEATURE_NAMES, tuple(features.values()))


def _software(
    rng: np.random.Generator, cards: Mapping[str, Gpu], overhead_s: tuple[float, float]
) -> tuple[Software, list[Knob]]:
    """A service's own ways, and the unknown knob if it has one."""
    spread = rng.uniform(0, 0.3)
    speed = {name: float(np.exp(rng.normal(0, spread))) for name in (*cards, NO_GPU)}
    options, unknown = {"": Option()}, []
    if rng.random() < 1 / 3:
        names = tuple(f"v{i}" for i in range(int(rng.integers(2, 5))))
        options = {name: _option(rng, tuple(cards), overhead_s) for name in names}
        unknown = [Knob(UNKNOWN_KNOB, names, "categorical")]
    return Software(speed, options, rng.uniform(0, 0.05)), unknown


def _option(rng: np.random.Generator, cards: tuple[str, ...], overhead_s: tuple[float, float]) -> Option:
    refused = frozenset(name for name in cards if rng.random() < 0.15) if rng.random() < 0.5 else frozenset()
    return Option(float(np.exp(rng.normal(0, 0.35))), _between(rng, *overhead_s), refused)


def _draw(rng: np.random.Generator, space: Space, count: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Positions of distinct configurations, and each knob's value in them."""
    chosen = rng.permutation(len(space))[:count]
    return chosen, {name: values[chosen] for name, values in space_values(space).items()}


def _groups(column: Mapping[str, np.ndarray], n: int, precision: str) -> list[tuple[np.ndarray, str, str, str]]:
    """Rows that share card, precision and option: their indices, and the three values."""
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


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    """Log-uniform."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
