"""The order in which a service's samples are sent, so that a short level of load sees a fair part of them.

Files are often sorted, by length for example. Sent in the order of the file, the first samples of a sorted file are the
cheap ones, and a level of a few seconds measures only these.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")

_GOLDEN = (math.sqrt(5) - 1) / 2
"""Multiples of the golden ratio, modulo 1, cover the unit interval more evenly than those of any other number
(Niederreiter, Random Number Generation and Quasi-Monte Carlo Methods, 1992, chapter 3)."""


def spread(samples: Sequence[T], rng: np.random.Generator) -> list[T]:
    """Return the samples in an order of which every beginning has its share of each part of the file.

    Neighbours in the file are shuffled first, in blocks of the square root of their number: what alternates in the file
    then no longer does. The blocks are then visited evenly.

    Args:
        samples: one or more, in the order of the file.
        rng: source of the order; the same one gives the same order.
    """
    count = len(samples)
    size = max(1, math.isqrt(count))
    shuffled = np.concatenate([start + rng.permutation(min(size, count - start)) for start in range(0, count, size)])
    visited = np.argsort(np.argsort((rng.random() + _GOLDEN * np.arange(count)) % 1.0))
    return [samples[position] for position in shuffled[visited].tolist()]


def distinct(samples: Sequence[T], most: int) -> list[T]:
    """Return the first `most` samples, without those that a mix of several files has more than once.

    Of samples in the order of `spread` they stand for all: which answers are compared follows from the study's seed.
    """
    first: dict[int, T] = {}
    for sample in samples:
        if len(first) == most:
            break
        first.setdefault(id(sample), sample)  # a mix repeats the same object; equal samples may be meant
    return list(first.values())
