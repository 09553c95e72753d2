"""The rate that a configuration needs to beat the best value so far; below it, its load test can end early."""

from __future__ import annotations

import numpy as np

from searchers.objective import Objective
from searchers.quantities import PRICE

_RATES_RPS = np.geomspace(1e-4, 1e8, 241)
"""Rates in requests/s at which an objective is evaluated: from one request in three hours to more than is possible."""

_HALVINGS = 40  # bisect a step of 12 % down to the precision of a float


def rate_to_beat(objective: Objective, usd_per_hour: float, best: float | None) -> float | None:
    """Return the rate above which a configuration of this price is better than the best so far.

    Args:
        objective: the study's objective. A rate decides only if the goal depends on `rps` and `usd_per_hour` alone and
            grows with `rps`.
        usd_per_hour: the configuration's price; NaN where unknown.
        best: the best value so far (`Objective.value`: larger is better); None while there is none.

    Returns:
        The rate in requests per second; None if there is nothing to beat, or a rate alone does not decide.
    """
    names = objective.goal.names
    if best is None or "rps" not in names or not names <= {"rps", PRICE}:
        return None

    def values(rates_rps: np.ndarray) -> np.ndarray:
        figures = objective.goal.over({"rps": rates_rps, PRICE: np.float64(usd_per_hour)})
        with np.errstate(all="ignore"):
            return 1 / figures if objective.minimize else figures

    found = values(_RATES_RPS)
    if not np.isfinite(found).all() or (found <= 0).any() or (np.diff(found) <= 0).any():
        return None
    above = int(np.searchsorted(found, best, side="right"))
    if above in (0, found.size):
        return None  # every rate wins, or none that a machine can reach
    low, high = _RATES_RPS[above - 1], _RATES_RPS[above]
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if values(np.array([middle]))[0] <= best else (low, middle)
    return float(max(high, objective.at_least.get("rps", 0.0)))
