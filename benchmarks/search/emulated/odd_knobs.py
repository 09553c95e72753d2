"""Knobs that no catalogue and no prior knows by name: what can be known of them are their values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from searchers.space import Knob, Value

FLAGS = ("hedge_calls", "pin_pages", "fuse_tail", "eager_drain", "split_heads", "reuse_slots")
NUMBERS = ("lanes", "fold_depth", "drain_us", "spill_mib", "lookahead", "fanout", "retain_mib", "tick_us")
CHOICES = ("codec", "mux", "layout")
"""Names of our own for switches, amounts and alternatives."""
FIRST = (1, 2, 5, 8, 16, 50)
"""Smallest values that an amount may have; the others are twice the one before."""


def odd_knobs(sizes: Sequence[int], rng: np.random.Generator) -> tuple[Knob, ...]:
    """Knobs with these numbers of values, from 2: those of two are flags, and every third other one is an alternative.

    Raises:
        ValueError: there are more knobs of a kind than names.
    """
    names = {kind: iter(rng.permutation(each).tolist()) for kind, each in (("flag", FLAGS), ("number", NUMBERS),
                                                                          ("choice", CHOICES))}  # fmt: skip
    kinds = [
        "flag" if size == 2 else "choice" if other % 3 == 2 else "number"
        for size, other in zip(sizes, np.cumsum([size > 2 for size in sizes]) - 1, strict=True)
    ]
    short = [kind for kind, each in (("flag", FLAGS), ("number", NUMBERS), ("choice", CHOICES))
             if kinds.count(kind) > len(each)]  # fmt: skip
    if short:
        raise ValueError(f"there are not enough names for so many knobs: {', '.join(short)}")
    return tuple(_knob(next(names[kind]), kind, size, rng) for kind, size in zip(kinds, sizes, strict=True))


def _knob(name: str, kind: str, size: int, rng: np.random.Generator) -> Knob:
    if kind == "number":
        first = FIRST[rng.integers(len(FIRST))]
        return Knob(name, tuple(first * 2**i for i in range(size)))
    values: tuple[Value, ...] = (False, True) if kind == "flag" else tuple("abcdefgh"[:size])
    return Knob(name, values, "categorical")
