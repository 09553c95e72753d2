"""What every searcher must beat."""

from __future__ import annotations

import numpy as np

from searchers.base import History, Problem
from searchers.choice import largest_free


class RandomSearch:
    """Any free configuration, all equally likely."""

    def __init__(self, problem: Problem) -> None:
        self._n = len(problem.space)

    def suggest(self, history: History, rng: np.random.Generator) -> int | None:
        """A random free position; None when there is none."""
        return largest_free(np.zeros(self._n), history, rng)
