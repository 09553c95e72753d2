"""Random search, the baseline that every other searcher must beat."""

from __future__ import annotations

import numpy as np

from searchers.base import History, Problem, largest_free


class RandomSearch:
    """Suggests any free configuration, all equally likely."""

    def __init__(self, problem: Problem) -> None:
        self._n = len(problem.space)

    def suggest(self, history: History, rng: np.random.Generator) -> int | None:
        """A random free position; None if none is free."""
        return largest_free(np.zeros(self._n), history, rng)
