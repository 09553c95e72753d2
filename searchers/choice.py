"""From scores of all configurations to the one that is measured next."""

from __future__ import annotations

import numpy as np

from searchers.base import History


def largest_free(scores: np.ndarray, history: History, rng: np.random.Generator) -> int | None:
    """The position of the largest score that is not taken, ties broken at random; None if all are taken.

    A score that is no number is the lowest: a network that diverged must not end a study.
    """
    scores = np.where(np.isnan(scores), -np.inf, scores)
    free = np.ones(len(scores), dtype=bool)
    free[list(history.taken)] = False
    if not free.any():
        return None
    candidates = np.flatnonzero(free)
    best = candidates[scores[candidates] == scores[candidates].max()]
    return int(rng.choice(best))
