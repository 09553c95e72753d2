"""The prices at which an answer can change, computed: each pair of configurations is worth the same at one price alone.

A replica's price is linear in the price p of each of its parts, u = a + b p. Where the goal goes with a power k of it,
v ∝ u^k, the ratio of the prices of two replicas is monotone in p, and so is that of their values, which therefore is r
at one price at most:

    v1 / v2 = r    <=>    u1 / u2 = T    <=>    p = (T a2 - a1) / (b1 - T b2),

where T = (u1 / u2) (r v2 / v1)^(1/k) with the values and prices of now. Two replicas cost the same where T = 1, and one
costs as much as a bound allows at p = (bound - a) / b.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from raytune_infer.ranking.ranked import Ranked
from raytune_infer.ranking.recommendation import Recommendation
from raytune_infer.report.whole.moving.certainty import everything, log_margins
from searchers.objective import Objective
from searchers.quantities import PRICE
from searchers.space import Config

_ROUNDING = 1e-9
"""Relative difference of two powers that only rounding tells apart."""


@dataclass(frozen=True)
class _Priced:
    """A configuration whose replica costs `base + slope * p` USD per hour, where p is the price of a part."""

    ranked: Ranked
    base: float
    slope: float


def places(
    found: Recommendation, usd_per_hour: Callable[[Config, float], float], now: float, pivots: Sequence[Config]
) -> list[float] | None:
    """Return the prices of a part at which one of the pivots passes another, in value, in certainty or in price.

    Args:
        found: the ranking at the price now.
        usd_per_hour: the price of a replica by its configuration and the price of the part.
        now: the price of the part now, above 0.
        pivots: the configurations that decide what is named: the answer, the default and the best value.

    Returns:
        The prices, above 0; None where they cannot be computed, as the goal is no power of the price.
    """
    if (power := _power(found.objective)) is None:
        return None
    priced = []
    for r in everything(found):
        once, twice = (usd_per_hour(r.config, by * now) for by in (1.0, 2.0))
        priced.append(_Priced(r, 2 * once - twice, (twice - once) / now))
    bound = found.objective.at_most.get(PRICE, math.inf)
    at = [(bound - each.base) / each.slope for each in priced if each.slope > 0]
    for one in (each for each in priced if each.ranked.config in pivots):
        at += [p for other in priced if other is not one for p in _passes(found, one, other, now, power)]
    return sorted(p for p in at if 0 < p < math.inf)


def _power(objective: Objective) -> float | None:
    """Return k where the value goes with the price to the power k, 0 where it does not; None if it is no power."""
    others = [name for name in objective.goal.names if name != PRICE]
    powers = []
    for known in (dict.fromkeys(others, each) for each in (0.5, 3.0)):
        figures = [objective.figure(known, usd) for usd in (1.0, 2.0, 8.0)]
        if not all(figure > 0 for figure in figures):
            return None
        powers += [math.log2(figures[1] / figures[0]), math.log2(figures[2] / figures[1]) / 2]
    if not all(math.isclose(each, powers[0], rel_tol=_ROUNDING, abs_tol=_ROUNDING) for each in powers):
        return None
    return -powers[0] if objective.minimize else powers[0]


def _passes(found: Recommendation, one: _Priced, other: _Priced, now: float, power: float) -> Iterator[float]:
    """Yield the prices of the part at which two configurations are the same in price, or change places in value."""
    ratios = [1.0]
    mine, its = (each.ranked.value or each.ranked.could_be for each in (one, other))
    if mine and its and power:
        before = (one.base + one.slope * now) / (other.base + other.slope * now)
        margins = log_margins(found, one.ranked, other.ranked)
        ratios += [before * (math.exp(m) * its / mine) ** (1 / power) for m in margins if math.isfinite(m)]
    for ratio in ratios:
        if slope := one.slope - ratio * other.slope:
            yield (ratio * other.base - one.base) / slope
