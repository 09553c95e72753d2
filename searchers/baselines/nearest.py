"""Replacement of a suggestion from the full product of knobs by the nearest configuration that is allowed and free."""

from __future__ import annotations

import numpy as np

from searchers.base import History
from searchers.space import Space


def nearest_free(space: Space, wanted: np.ndarray, history: History, rng: np.random.Generator) -> int | None:
    """The free position nearest to `[knobs]` wanted ranks, ties broken at random; None if none is free.

    Searchers of other libraries know neither that a configuration may be forbidden nor that measuring it twice
    is a waste. The distance in an ordinal knob is the difference of ranks as a fraction of the largest one; another
    category is farther than any number of ranks, so categorical knobs are kept where possible.
    """
    free = np.setdiff1d(np.arange(len(space)), list(history.taken))
    if len(free) == 0:
        return None
    ordinal = np.array([knob.kind == "ordinal" for knob in space.knobs])
    span = np.maximum(1, [len(knob.values) - 1 for knob in space.knobs])
    apart = np.abs(space.ranks[free] - wanted) / span
    apart = np.where(ordinal, apart, np.where(apart > 0, len(space.knobs), 0.0))
    apart = np.where(space.exists[free], apart, 0.0).sum(axis=1)  # a knob that is not there has no wrong value
    return int(rng.choice(free[apart == apart.min()]))
