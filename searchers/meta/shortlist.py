"""Search of a large space by a searcher that models all configurations jointly and so can be given only some."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import numpy as np

from searchers.base import History, Observation, PredictsGain, Problem, Searcher

_CLIMBED = 3
"""Number of best configurations whose neighbours are added. Our choice."""


class GainPredictingSearcher(Searcher, PredictsGain, Protocol):
    """The kind of searcher that is used on the shortlist."""


class Shortlisted:
    """Searches a shortlist: a random sample, and all configurations that differ in one knob from the best so far.

    The sample shows which region is good; the neighbours lead from there to configurations outside the sample.

    Args:
        problem: the problem with the whole space.
        make: makes the searcher, given the problem with the shortlist as its space.
        most: number of configurations that are drawn at random.
    """

    def __init__(self, problem: Problem, make: Callable[[Problem], GainPredictingSearcher], *, most: int) -> None:
        self._problem = problem
        self._make = make
        self._sample = np.random.default_rng(0).choice(len(problem.space), most, replace=False)
        self._made: tuple[bytes, GainPredictingSearcher] | None = None

    def suggest(self, history: History, rng: np.random.Generator) -> int | None:
        """The searcher's suggestion from the shortlist; a random free position once all of the shortlist is taken."""
        if len(history.taken) >= len(self._problem.space):
            return None
        listed = self._listed(history)
        chosen = self._searcher(listed).suggest(_within(listed, history), rng)
        if chosen is not None:
            return int(listed[chosen])
        return int(rng.choice(np.setdiff1d(np.arange(len(self._problem.space)), list(history.taken))))

    def chance_of_more(self, history: History, margin: float) -> float:
        """The searcher's answer for the shortlist only; it knows nothing about the rest of the space."""
        listed = self._listed(history)
        return self._searcher(listed).chance_of_more(_within(listed, history), margin)

    def _listed(self, history: History) -> np.ndarray:
        """Positions of the shortlisted configurations, ascending."""
        values = [(self._problem.value(o) or 0.0, o.position) for o in history.observed]
        best = [position for value, position in sorted(values, reverse=True)[:_CLIMBED] if value > 0]
        near = [self._problem.space.neighbours(position) for position in best]
        return np.unique(np.concatenate([self._sample, np.array(list(history.taken), dtype=int), *near]))

    def _searcher(self, listed: np.ndarray) -> GainPredictingSearcher:
        """The searcher of this shortlist; the list changes only with the best, so the last searcher is often reused."""
        key = listed.tobytes()
        if self._made is None or self._made[0] != key:
            whole = self._problem
            part = replace(
                whole,
                space=whole.space.subset(listed),
                usd_per_hour=whole.usd_per_hour[listed],
                expected=None if whole.expected is None else whole.expected.at(listed),
            )
            self._made = key, self._make(part)
        return self._made[1]


def _within(listed: np.ndarray, history: History) -> History:
    """The history with positions counted within the shortlist, which contains every taken position."""
    place = {int(position): i for i, position in enumerate(listed)}
    observed = tuple(Observation(place[o.position], o.metrics) for o in history.observed)
    return History(observed, frozenset(place[p] for p in history.pending))
