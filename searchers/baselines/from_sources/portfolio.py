"""Search in a fixed order: configurations that were best for earlier services come first."""

from __future__ import annotations

import numpy as np

from searchers.base import History, Problem
from searchers.baselines.from_sources.source_values import fractions_of, learnt_once
from searchers.choice import largest_free


@learnt_once
def mean_fraction(problem: Problem) -> np.ndarray:
    """`[n]` mean over the sources of value / source's best value; -1 where no source has the configuration."""
    fractions = fractions_of(problem)
    times = (~np.isnan(fractions)).sum(axis=0)
    # Rounded, so that values that differ only in the last bits are ties, not decided by the order of a sum.
    return np.where(times > 0, np.nansum(fractions, axis=0).round(9) / np.maximum(times, 1), -1.0)


class Portfolio:
    """Measures configurations in the order of their mean value over the sources, whatever the measurements.

    A source's best configuration has the value 1, an infeasible one 0. Sources that do not have a configuration
    are left out of its mean; configurations that no source has come last. Ties are broken at random, so without
    sources it is random search.

    Args:
        problem: the space to search, the objective, and the sources.
    """

    def __init__(self, problem: Problem) -> None:
        self._scores = mean_fraction(problem)

    def suggest(self, history: History, rng: np.random.Generator) -> int | None:
        """The free position of the largest mean."""
        return largest_free(self._scores, history, rng)
