"""Choice of the next configuration by the scores of all configurations."""

from __future__ import annotations

import numpy as np

from searchers.base import History


def largest_free(scores: np.ndarray, history: History, rng: np.random.Generator) -> int | None:
    """The free position (not in `history.taken`) of the largest score, ties broken at random; None if none is free.

    NaN counts as the lowest score, so that a network that diverged does not end a study.
    """
    scores = np.where(np.isnan(scores), -np.inf, scores)
    free = np.ones(len(scores), dtype=bool)
    free[list(history.taken)] = False
    if not free.any():
        return None
    candidates = np.flatnonzero(free)
    best = candidates[scores[candidates] == scores[candidates].max()]
    return int(rng.choice(best))
