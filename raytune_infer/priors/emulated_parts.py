"""Parts of random services: models, GPUs, and software with its own deviations from the formulas.

All ranges are our choice, wide enough to cover usual services.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cluster.emulated.generation import HEAD_WIDTH, LanguageModel, Runtime
from cluster.gpus import Gpu
from raytune_infer.spec.standard_knobs import NO_GPU
from searchers.space import Knob

UNKNOWN_KNOB = "option"
"""Name of a categorical knob of unknown meaning, which has no features but the names of its values."""


@dataclass(frozen=True)
class Option:
    """Effect of one value of the unknown knob.

    Args:
        speed: factor on the speed of the device.
        overhead_s: additional host time in seconds for each batch or step.
        refused: GPU types on which it does not run.
    """

    speed: float = 1.0
    overhead_s: float = 0.0
    refused: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Software:
    """Deviations of one service from the formulas.

    Args:
        speed: GPU type → factor on its speed; kernels suit some GPUs better than others.
        options: value of the unknown knob → its effect; a single value without effect if the space has no such knob.
        noise: standard deviation of the natural logarithm of a measurement.
    """

    speed: Mapping[str, float]
    options: Mapping[str, Option]
    noise: float


def random_language_model(rng: np.random.Generator) -> LanguageModel:
    """Draw a decoder of 0.3 to 400 billion parameters; two of five are mixtures of experts.

    The number of layers L and the width d follow from 12 L d^2 parameters in the blocks (Kaplan et al. 2020, Table 1)
    and a ratio d / L of 50 to 140; for a mixture of experts, the number of parameters here is the geometric mean of all
    and the active ones. The width of the keys is 1 to 1/16 of d.
    """
    parameters = between(rng, 3e8, 4e11)
    experts, used, active = 1.0, 1.0, parameters
    if rng.random() < 0.4:
        experts = float(rng.choice([8, 16, 32, 64, 128, 256]))
        used = float(rng.choice([k for k in (1, 2, 4, 8) if k <= experts / 4]))
        active = parameters * max(used / experts, 1 / between(rng, 3, 25))
    slimness = between(rng, 50, 140)
    layers = ((parameters * active) ** 0.5 / (12 * slimness**2)) ** (1 / 3)
    width = slimness * layers
    kv_width = max(HEAD_WIDTH, width * float(rng.choice([1, 1 / 2, 1 / 4, 1 / 8, 1 / 16], p=[0.2, 0.1, 0.3, 0.3, 0.1])))
    return LanguageModel(parameters, active, layers, width, min(kv_width, width), experts, used)


def random_runtime(rng: np.random.Generator) -> Runtime:
    """Draw an inference engine: its efficiencies, overhead per step, batching of prompts, and admission of requests."""
    return Runtime(
        compute_efficiency=between(rng, 0.25, 0.75),
        memory_efficiency=between(rng, 0.4, 0.9),
        link_efficiency=between(rng, 0.3, 0.9),
        step_s=between(rng, 2e-4, 2e-2),
        prompts_together=float(rng.choice([0.0, rng.random(), 1.0])),
        admits_what_fits=bool(rng.random() < 0.4),
    )


def random_cards(rng: np.random.Generator, gpus: Sequence[Gpu], count: int) -> dict[str, Gpu]:
    """Draw `count` of the GPUs, or all if there are fewer.

    In half of the cases their figures are changed by a factor of about 1.3 each. The surface f sees a GPU as four
    figures. With those of the GPUs as they are, it could memorise them.
    """
    chosen = [gpus[i] for i in rng.choice(len(gpus), min(count, len(gpus)), replace=False)]
    if rng.random() < 0.5:
        chosen = [_like(rng, card) for card in chosen]
    return {card.name: card for card in chosen}


def _like(rng: np.random.Generator, card: Gpu) -> Gpu:
    memory, bandwidth, *rates = np.exp(rng.normal(0, 0.25, 2 + len(card.peak_flops)))
    flops = {name: peak * factor for (name, peak), factor in zip(card.peak_flops.items(), rates, strict=True)}
    return replace(
        card, memory_gib=card.memory_gib * memory, bandwidth_gb_s=card.bandwidth_gb_s * bandwidth, peak_flops=flops
    )


def random_software(
    rng: np.random.Generator, cards: Mapping[str, Gpu], overhead_s: tuple[float, float]
) -> tuple[Software, list[Knob]]:
    """Draw a service's deviations from the formulas, and the unknown knob if it has one."""
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
    return Option(float(np.exp(rng.normal(0, 0.35))), between(rng, *overhead_s), refused)


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a log-uniform number from `low` to `high`."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
