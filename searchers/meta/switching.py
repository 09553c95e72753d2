"""What a trial needs to start: a new replica takes seconds, a change in place a fraction of one.

A score is known only so well. Among configurations that it hardly tells apart, one for which the replica of the last
trial can be changed in place is as good, and cheaper to measure.
"""

from __future__ import annotations

import numpy as np

from searchers.base import History
from searchers.space import Space


def replicas(space: Space) -> np.ndarray:
    """`[n]` which replica each configuration needs: the same number where a live one can be changed into the other."""
    out = np.zeros(len(space), dtype=np.int64)
    for knob, ranks in zip(space.knobs, space.ranks.T, strict=True):
        needs = np.array(knob.needs)
        out = out * (needs.max() + 1) + needs[ranks]
    return out


def warm(needed: np.ndarray, history: History) -> np.ndarray:
    """`[n]` whether the replica of the last observed trial can be changed into what a configuration needs.

    Pending trials are in need of theirs, and one that failed is not used again.

    Args:
        needed: `[n]` which replica each configuration needs.
        history: of the search.
    """
    if not history.observed or history.observed[-1].metrics is None:
        return np.zeros(len(needed), dtype=bool)
    return needed == needed[history.observed[-1].position]


def sparing(scores: np.ndarray, spared: np.ndarray, within: float) -> np.ndarray:
    """`[n]` the scores, of which only those that spare something count where one of them is nearly the largest.

    Args:
        scores: `[n]`, 0 for what is taken, and never less.
        spared: `[n]` which configurations spare something.
        within: how much less than the largest is nearly as much, as a fraction of it.
    """
    near = spared & (scores > 0) & (scores >= (1 - within) * scores.max())
    return np.where(near, scores, -np.inf) if near.any() else scores
