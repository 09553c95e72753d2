"""Search in a fixed order: configurations that were best for earlier services come first."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from searchers.base import History, Problem, largest_free
from searchers.baselines.from_sources.source_values import fractions_of, learnt_once


@learnt_once
def mean_fraction(problem: Problem) -> np.ndarray:
    """`[n]` mean over the sources of value / source's best value; -1 where no source has the configuration."""
    fractions = fractions_of(problem)
    times = (~np.isnan(fractions)).sum(axis=0)
    # Rounded, so that values that differ only in the last bits are ties, not decided by the order of a sum.
    return np.where(times > 0, np.nansum(fractions, axis=0).round(9) / np.maximum(times, 1), -1.0)


@learnt_once
def greedy_order(problem: Problem) -> np.ndarray:
    """`[n]` scores whose descending order is that of greedy coverage; those of `mean_fraction` where nothing is gained.

    Each configuration is the one that, with those before it, gives the largest mean over the sources of the best value
    so far (as a fraction of the source's best). This mean is submodular, so that a list of any length is within 1 - 1/e
    of the best one (Nemhauser, Wolsey, Fisher 1978). It ends where every source has its best.
    """
    scores, fractions = mean_fraction(problem), np.nan_to_num(fractions_of(problem))
    if not len(fractions):
        return scores
    out, best = scores.copy(), np.zeros(len(fractions))
    for place in range(len(scores)):
        gains = np.maximum(fractions - best[:, None], 0).mean(axis=0).round(9)
        if not gains.any():
            break
        chosen = int(np.lexsort((scores, gains))[-1])  # of equal gains the larger mean
        out[chosen] = 1 + len(scores) - place  # above all means, which are fractions
        best = np.maximum(best, fractions[:, chosen])
    return out


class Portfolio:
    """Measures configurations in the order of their mean value over the sources, whatever the measurements.

    A source's best configuration has the value 1, an infeasible one 0. Sources that do not have a configuration
    are left out of its mean; configurations that no source has come last. Ties are broken at random, so without
    sources it is random search.

    Args:
        problem: the space to search, the objective, and the sources.
        order: problem → `[n]` scores, measured in descending order; the mean when left out.
    """

    def __init__(self, problem: Problem, order: Callable[[Problem], np.ndarray] = mean_fraction) -> None:
        self._scores = order(problem)

    def suggest(self, history: History, rng: np.random.Generator) -> int | None:
        """The free position of the largest score."""
        return largest_free(self._scores, history, rng)


def greedy_portfolio(problem: Problem) -> Portfolio:
    """The list of which every beginning serves the sources together best, as far as a greedy choice finds it."""
    return Portfolio(problem, greedy_order)
