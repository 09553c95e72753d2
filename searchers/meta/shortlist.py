"""A searcher that thinks about all configurations at once, in a space of too many of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import numpy as np

from searchers.base import History, Observation, PredictsGain, Problem, Searcher

_CLIMBED = 3
"""Around how many of the best the neighbours are added. Our choice."""


class GainPredictingSearcher(Searcher, PredictsGain, Protocol):
    """What is searched with on the shortlist."""


class Shortlisted:
    """Search among some configurations: a random sample, and all that differ in one knob from the best so far.

    The sample says where it is good, the neighbours lead on from there to what was not in the sample.

    Args:
        problem: the whole space.
        make: makes the searcher, given the problem with the shortlist for a space.
        most: how many configurations are drawn at random.
    """

    def __init__(self, problem: Problem, make: Callable[[Problem], GainPredictingSearcher], *, most: int) -> None:
        self._problem = problem
        self._make = make
        self._sample = np.random.default_rng(0).choice(len(problem.space), most, replace=False)
        self._made: tuple[bytes, GainPredictingSearcher] | None = None

    def suggest(self, history: History, rng: np.random.Generator) -> int | None:
        """What the searcher suggests among the shortlist; any free position once all of it is taken."""
        if len(history.taken) >= len(self._problem.space):
            return None
        listed = self._listed(history)
        chosen = self._searcher(listed).suggest(_within(listed, history), rng)
        if chosen is not None:
            return int(listed[chosen])
        return int(rng.choice(np.setdiff1d(np.arange(len(self._problem.space)), list(history.taken))))

    def chance_of_more(self, history: History, margin: float) -> float:
        """The searcher's answer on the shortlist: of the rest of the space it knows nothing."""
        listed = self._listed(history)
        return self._searcher(listed).chance_of_more(_within(listed, history), margin)

    def _listed(self, history: History) -> np.ndarray:
        """Positions on the shortlist, ascending."""
        values = [(self._problem.value(o) or 0.0, o.position) for o in history.observed]
        best = [position for value, position in sorted(values, reverse=True)[:_CLIMBED] if value > 0]
        near = [self._problem.space.neighbours(position) for position in best]
        return np.unique(np.concatenate([self._sample, np.array(list(history.taken), dtype=int), *near]))

    def _searcher(self, listed: np.ndarray) -> GainPredictingSearcher:
        """The searcher of this list; it moves only when the best does, so it is often the same."""
        key = listed.tobytes()
        if self._made is None or self._made[0] != key:
            part = replace(
                self._problem, space=self._problem.space.subset(listed), usd_per_hour=self._problem.usd_per_hour[listed]
            )
            self._made = key, self._make(part)
        return self._made[1]


def _within(listed: np.ndarray, history: History) -> History:
    """The history with positions on the shortlist; all that is taken is on it."""
    place = {int(position): i for i, position in enumerate(listed)}
    observed = tuple(Observation(place[o.position], o.metrics) for o in history.observed)
    return History(observed, frozenset(place[p] for p in history.pending))
