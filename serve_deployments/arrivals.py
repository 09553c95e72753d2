"""When requests arrive: endless iterators of scheduled offsets in seconds from the start."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np


def constant(rate_rps: float) -> Iterator[float]:
    """Equally spaced, the first at 0.

    Raises:
        ValueError: a rate that is not a positive number.
    """
    _check(rate_rps)
    return (number / rate_rps for number in itertools.count())


def poisson(rate_rps: float, rng: np.random.Generator) -> Iterator[float]:
    """Independent arrivals: exponential gaps of mean 1 / rate.

    The same `rng` gives the same pattern at every rate, only stretched. Levels of one search, and trials of
    one study, are thus compared under the same luck (common random numbers).

    Raises:
        ValueError: a rate that is not a positive number.
    """
    _check(rate_rps)
    gaps = iter(rng.standard_exponential, None)
    return (units / rate_rps for units in itertools.accumulate(gaps))


def _check(rate_rps: float) -> None:
    if not (math.isfinite(rate_rps) and rate_rps > 0):
        raise ValueError(f"a rate must be a positive number of requests per second, got {rate_rps}")
