"""How service times vary from batch to batch, relative to their mean of one: what servers in virtual time are made of.

Each is a function of a random generator that gives a factor for the next batch, given the time in seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

Varies = Callable[[np.random.Generator], Callable[[float], float]]


def constant(rng: np.random.Generator) -> Callable[[float], float]:
    """Always alike."""
    return lambda now_s: 1.0


def gamma(variation: float) -> Varies:
    """Independent, of this coefficient of variation."""
    shape = variation**-2
    return lambda rng: lambda now_s: float(rng.gamma(shape, 1 / shape))


def remembering(memory: float, variation: float) -> Varies:
    """Autoregressive of order one."""

    def start(rng: np.random.Generator) -> Callable[[float], float]:
        state = [rng.standard_normal()]

        def factor(now_s: float) -> float:
            state[0] = memory * state[0] + math.sqrt(1 - memory**2) * rng.standard_normal()
            return max(0.05, 1 + variation * state[0])

        return factor

    return start


def drifting(swing: float, period_s: float) -> Varies:
    """A slow wave from a random phase on, and 5 % of noise."""

    def start(rng: np.random.Generator) -> Callable[[float], float]:
        phase = rng.uniform(0, 2 * math.pi)
        return lambda now_s: 1 + swing * math.sin(phase + 2 * math.pi * now_s / period_s) + 0.05 * rng.standard_normal()

    return start
