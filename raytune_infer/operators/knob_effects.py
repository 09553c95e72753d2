"""What each knob changes by the curves of a model's operators, and which can be dropped from a search.

The effect of a knob is the largest factor between the rates of two of its values, all else equal. It can be dropped if
even the upper end of that factor's interval is less than what a trial could tell.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from raytune_infer.operators.prediction import Predicted, Predictor, resources_of
from raytune_infer.operators.profiling import ServiceProfile
from searchers.space import Config, Value

_KNOWN = ("max_batch_size", "cpu_cores", "threads", "precision", "gpu_type", "gpu_share", "gpu_memory")
"""Knobs that curves can tell of: those of resources."""


@dataclass(frozen=True)
class KnobEffect:
    """The effect of one knob.

    Args:
        knob: its name.
        effect: largest factor between two of its values, less 1, all else equal; None if curves do not tell.
        low: lower end of its 95 % interval.
        high: upper end.
        best: its value with the highest rate, in most of the other settings.
        droppable: whether a search can do without it.
    """

    knob: str
    effect: float | None = None
    low: float = 0.0
    high: float = math.inf
    best: Value | None = None
    droppable: bool = False


def knob_effects(
    predictor: Predictor, profile: ServiceProfile, configs: Sequence[Config], *, noise: float
) -> list[KnobEffect]:
    """Returns the effects of all knobs with more than one value, those of most effect first.

    Args:
        predictor: predicts batches.
        profile: the model's profile.
        configs: the configurations of the space.
        noise: relative noise of a trial, below which an effect cannot be told.
    """
    rates = [predictor.predict(resources_of(config, profile)) for config in configs]
    knobs = list(dict.fromkeys(name for config in configs for name in config))
    effects = [_effect(knob, configs, rates, noise) for knob in knobs]
    return sorted(
        (each for each in effects if each is not None), key=lambda each: -1.0 if each.effect is None else -each.effect
    )


def _effect(knob: str, configs: Sequence[Config], rates: Sequence[Predicted | None], noise: float) -> KnobEffect | None:
    groups: dict[tuple[tuple[str, Value], ...], dict[Value, Predicted | None]] = {}
    for config, rate in zip(configs, rates, strict=True):
        if knob in config:
            others = tuple(sorted((name, value) for name, value in config.items() if name != knob))
            groups.setdefault(others, {})[config[knob]] = rate
    compared = [group for group in groups.values() if len(group) > 1]
    if not compared:
        return None
    known = [group for group in compared if all(rate is not None for rate in group.values())]
    if knob not in _KNOWN or len(known) < len(compared):
        return KnobEffect(knob)
    found = [_in_group({value: rate for value, rate in group.items() if rate is not None}) for group in known]
    effect, low, high = max(each[:3] for each in found)
    upper = max(each[2] for each in found)
    wins: dict[Value, int] = {}
    for each in found:
        wins[each[3]] = wins.get(each[3], 0) + 1
    return KnobEffect(knob, effect, low, max(high, upper), max(wins, key=lambda value: wins[value]), upper < noise)


def _in_group(group: Mapping[Value, Predicted]) -> tuple[float, float, float, Value]:
    """The largest factor between two values less 1, its interval, and the best value.

    What all predictions of a model share, such as that its operators are slower in it, does not move their factor.
    """
    best = max(group, key=lambda value: group[value].rate_rps)
    worst = min(group, key=lambda value: group[value].rate_rps)
    factor = group[best].rate_rps / group[worst].rate_rps
    spread = math.hypot(group[best].own_error, group[worst].own_error)
    return factor - 1, factor / (1 + spread) - 1, factor * (1 + spread) - 1, best
