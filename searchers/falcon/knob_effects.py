"""Which knobs matter: how much each moves what is expected, and which are within noise and split no region.

A knob's effect on a quantity is the root mean square difference of a configuration's expectation from the mean over the
knob's other values, all other knobs as they are. It is what one trial would have to notice, so it is compared with the
noise of a measurement. What earlier services do not agree in has been shrunk away before (`curves`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from searchers.space import Space


@dataclass(frozen=True)
class KnobEffect:
    """What is expected of one knob.

    Args:
        knob: its name.
        kept: whether regions are split by it. A knob that is not kept is searched all the same, within regions.
        why: the reason, a sentence for a person.
        quantity: the quantity that it moves most, in terms of that quantity's noise; empty if it cannot be told.
        effect: root mean square effect on it, in e-folds (a probability for whether a configuration runs).
        noise: what an effect must exceed.
    """

    knob: str
    kept: bool
    why: str
    quantity: str = ""
    effect: float = 0.0
    noise: float = 0.0


def knob_effects(
    space: Space, ranks: np.ndarray, surfaces: Mapping[str, np.ndarray], noise: Mapping[str, float]
) -> tuple[KnobEffect, ...]:
    """The effect of every knob of a space, in the order of its knobs.

    Args:
        space: the n configurations.
        ranks: `[n, a]` rank of each value; -1 where the knob does not exist.
        surfaces: quantity → `[n]` what is expected of it; none where nothing is expected.
        noise: quantity → the smallest effect that matters.
    """
    return tuple(_effect(knob.name, j, ranks, surfaces, noise) for j, knob in enumerate(space.knobs))


def _effect(
    name: str, j: int, ranks: np.ndarray, surfaces: Mapping[str, np.ndarray], noise: Mapping[str, float]
) -> KnobEffect:
    if (ranks[:, j] == ranks[0, j]).all():
        return KnobEffect(name, False, "it has one value in all configurations")
    if not surfaces:
        return KnobEffect(name, True, "nothing is known of its effect")
    line, size = lines(ranks, j)
    compared = size[line] > 1
    if not compared.any():
        return KnobEffect(name, True, "no two configurations differ in it alone, so that its effect cannot be told")
    effects = {q: line_deviation(surface, line, size) for q, surface in surfaces.items()}
    most = max(effects, key=lambda q: effects[q] / max(noise[q], 1e-12))
    effect, limit = effects[most], noise[most]
    kept = effect > limit
    how = "more" if kept else "no more"
    said = f"it moves {most} by {effect:.3g}, {how} than the {limit:.3g} that a measurement can tell"
    return KnobEffect(name, kept, said, most, effect, limit)


def lines(ranks: np.ndarray, j: int) -> tuple[np.ndarray, np.ndarray]:
    """`[n]` the line of each configuration, of those that differ in knob j alone, and the size of each line."""
    others = np.delete(ranks, j, axis=1) + 1
    if not others.shape[1]:
        return np.zeros(len(ranks), dtype=np.int64), np.array([len(ranks)])
    _, line, size = np.unique(others, axis=0, return_inverse=True, return_counts=True)
    return line.ravel(), size


def line_deviation(surface: np.ndarray, line: np.ndarray, size: np.ndarray) -> float:
    """Root mean square difference from the line's mean, over configurations that are not alone in theirs."""
    apart = surface - (np.bincount(line, surface) / size)[line]
    return float(np.sqrt(np.mean(np.square(apart[size[line] > 1]))))
