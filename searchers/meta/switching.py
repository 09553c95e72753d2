"""Preference for trials that need no new replica: starting one takes seconds, a change in place a fraction of one.

Scores are uncertain. Among configurations whose scores hardly differ, one for which the last trial's replica can be
changed in place is as good, and cheaper to measure.
"""

from __future__ import annotations

import numpy as np

from searchers.base import History
from searchers.space import Space


def replicas(space: Space) -> np.ndarray:
    """`[n]` number of the replica that each configuration needs; equal if a live replica can change between them."""
    out = np.zeros(len(space), dtype=np.int64)
    for knob, ranks in zip(space.knobs, space.ranks.T, strict=True):
        needs = np.array(knob.needs)
        out = out * (needs.max() + 1) + needs[ranks]
    return out


def warm(needed: np.ndarray, history: History) -> np.ndarray:
    """`[n]` whether the replica of the last observed trial can be changed in place to each configuration.

    Replicas of pending trials are in use, and the replica of a failed trial is not used again.

    Args:
        needed: `[n]` number of the replica that each configuration needs.
        history: the search so far.
    """
    if not history.observed or history.observed[-1].metrics is None:
        return np.zeros(len(needed), dtype=bool)
    return needed == needed[history.observed[-1].position]


def sparing(scores: np.ndarray, spared: np.ndarray, within: float) -> np.ndarray:
    """`[n]` scores, limited to configurations that need no new replica where any of these is close to the largest.

    All other scores are then -inf.

    Args:
        scores: `[n]` scores, 0 for taken positions and never negative.
        spared: `[n]` which configurations need no new replica.
        within: how far below the largest score still counts as close, as a fraction of it.
    """
    near = spared & (scores > 0) & (scores >= (1 - within) * scores.max())
    return np.where(near, scores, -np.inf) if near.any() else scores
