"""Poisson arrivals of requests for many models, at the rates of Optimus."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from benchmarks.transform.traces.invocations import Arrival

PAPER_RATES_RPS = (10**-3.5, 10**-2.5, 10**-2)
"""Requests per second for one model that is asked for rarely, now and then, and often (Optimus, EuroSys 2024,
evaluation: lambda = 10^-3.5, 10^-2.5 and 10^-2)."""


def poisson(models: Sequence[str], rates_rps: Sequence[float], span_s: float, seed: int) -> tuple[Arrival, ...]:
    """Independent Poisson arrivals for each model; the rates go round over the models.

    The count in `span_s` seconds is Poisson distributed, and given the count the times are uniform. Each model has a
    random stream of its own, so that its arrivals do not depend on which others there are.

    Args:
        models: names of the models.
        rates_rps: rates; model number i has rate number i modulo their count.
        span_s: length in seconds.
        seed: of all streams.

    Raises:
        ValueError: there is no rate, a rate is not positive, or the span is not a positive number.
    """
    if not rates_rps or not all(0 < rate < math.inf for rate in rates_rps):
        raise ValueError(f"rates are one or more positive numbers of requests/s, got {list(rates_rps)}")
    if not 0 < span_s < math.inf:
        raise ValueError(f"the arrivals span a positive number of seconds, got {span_s}")
    arrivals: list[Arrival] = []
    for number, model in enumerate(models):
        rng = np.random.default_rng([seed, number])
        count = rng.poisson(rates_rps[number % len(rates_rps)] * span_s)
        arrivals += [Arrival(at_s, model) for at_s in rng.uniform(0.0, span_s, count).tolist()]
    return tuple(sorted(arrivals))
