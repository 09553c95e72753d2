"""Random service times for servers in virtual time: factors that vary from batch to batch around a mean of one.

Each takes a random generator and returns a function from the time in seconds to the next batch's factor.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

Varies = Callable[[np.random.Generator], Callable[[float], float]]


def constant(rng: np.random.Generator) -> Callable[[float], float]:
    """Constant service times: the factor is always 1."""
    return lambda now_s: 1.0


def gamma(variation: float) -> Varies:
    """Independent gamma-distributed factors with this coefficient of variation."""
    shape = variation**-2
    return lambda rng: lambda now_s: float(rng.gamma(shape, 1 / shape))


def remembering(memory: float, variation: float) -> Varies:
    """Autoregressive factors of order one: `memory` is the correlation of neighbours, `variation` their spread."""

    def start(rng: np.random.Generator) -> Callable[[float], float]:
        state = [rng.standard_normal()]

        def factor(now_s: float) -> float:
            state[0] = memory * state[0] + math.sqrt(1 - memory**2) * rng.standard_normal()
            return max(0.05, 1 + variation * state[0])

        return factor

    return start


def drifting(swing: float, period_s: float) -> Varies:
    """Factors that follow a slow sine wave of random phase, with 5 % of noise."""

    def start(rng: np.random.Generator) -> Callable[[float], float]:
        phase = rng.uniform(0, 2 * math.pi)
        return lambda now_s: 1 + swing * math.sin(phase + 2 * math.pi * now_s / period_s) + 0.05 * rng.standard_normal()

    return start
