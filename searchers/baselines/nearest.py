"""From the wish of a searcher that knows a product of knobs to a configuration that may still be measured."""

from __future__ import annotations

import numpy as np

from searchers.base import History
from searchers.space import Space


def nearest_free(space: Space, wanted: np.ndarray, history: History, rng: np.random.Generator) -> int | None:
    """The free position nearest to `[knobs]` wanted ranks, ties broken at random; None if all are taken.

    Searchers of other libraries know neither that a configuration may be forbidden nor that measuring it twice
    is a waste. Ordinal knobs count as the share of their ranks in between; another category is farther
    than any number of ranks, so categorical knobs are kept where possible.
    """
    free = np.setdiff1d(np.arange(len(space)), list(history.taken))
    if len(free) == 0:
        return None
    ordinal = np.array([knob.kind == "ordinal" for knob in space.knobs])
    span = np.maximum(1, [len(knob.values) - 1 for knob in space.knobs])
    apart = np.abs(space.ranks[free] - wanted) / span
    apart = np.where(ordinal, apart, np.where(apart > 0, len(space.knobs), 0.0)).sum(axis=1)
    return int(rng.choice(free[apart == apart.min()]))
