"""A fixed list: what was good for others, in that order."""

from __future__ import annotations

import numpy as np

from searchers.base import History, Problem
from searchers.baselines.source_values import fractions_of, learnt_once
from searchers.choice import largest_free


@learnt_once
def mean_fraction(problem: Problem) -> np.ndarray:
    """`[n]` mean over the sources of value / the source's best value; -1 where no source has the configuration."""
    fractions = fractions_of(problem)
    times = (~np.isnan(fractions)).sum(axis=0)
    # Rounded, as what differs in the last bits alone is as good: chance decides, not the order of a sum.
    return np.where(times > 0, np.nansum(fractions, axis=0).round(9) / np.maximum(times, 1), -1.0)


class Portfolio:
    """The configurations in the order of their mean over the sources; what is measured changes nothing.

    What a source's best configuration gives is 1, what could not run or breaks a limit is 0. Sources that do
    not know a configuration are left out of its mean; configurations that none knows come last. Chance
    decides between equals, so without sources it is random search.

    Args:
        problem: the space to search, what counts as good, and the sources.
    """

    def __init__(self, problem: Problem) -> None:
        self._scores = mean_fraction(problem)

    def suggest(self, history: History, rng: np.random.Generator) -> int | None:
        """The free position of the largest mean."""
        return largest_free(self._scores, history, rng)
