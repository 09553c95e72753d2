"""A searcher that thinks about all configurations at once, in a space of too many of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from searchers.base import History, Observation, Problem, Searcher

_CLIMBED = 3
"""Around how many of the best the neighbours are added. Our choice."""


class Shortlisted:
    """Search among some configurations: a random sample, and all that differ in one knob from the best so far.

    The sample says where it is good, the neighbours lead on from there to what was not in the sample.

    Args:
        problem: the whole space.
        make: makes the searcher, given the problem with the shortlist for a space.
        most: how many configurations are drawn at random.
    """

    def __init__(self, problem: Problem, make: Callable[[Problem], Searcher], *, most: int) -> None:
        self._problem = problem
        self._make = make
        self._sample = np.random.default_rng(0).choice(len(problem.space), most, replace=False)
        self._made: tuple[bytes, Searcher] | None = None

    def suggest(self, history: History, rng: np.random.Generator) -> int | None:
        """What the searcher suggests among the shortlist; any free position once all of it is taken."""
        if len(history.taken) >= len(self._problem.space):
            return None
        listed = self._listed(history)
        place = {int(position): i for i, position in enumerate(listed)}
        seen = tuple(Observation(place[o.position], o.metrics) for o in history.observed)
        inner = History(seen, frozenset(place[p] for p in history.pending))
        chosen = self._searcher(listed).suggest(inner, rng)
        if chosen is not None:
            return int(listed[chosen])
        return int(rng.choice(np.setdiff1d(np.arange(len(self._problem.space)), list(history.taken))))

    def _listed(self, history: History) -> np.ndarray:
        """Positions on the shortlist, ascending."""
        values = [(self._problem.value(o) or 0.0, o.position) for o in history.observed]
        best = [position for value, position in sorted(values, reverse=True)[:_CLIMBED] if value > 0]
        near = [self._problem.space.neighbours(position) for position in best]
        return np.unique(np.concatenate([self._sample, np.array(list(history.taken), dtype=int), *near]))

    def _searcher(self, listed: np.ndarray) -> Searcher:
        """The searcher of this list; it moves only when the best does, so it is often the same."""
        key = listed.tobytes()
        if self._made is None or self._made[0] != key:
            part = replace(
                self._problem, space=self._problem.space.subset(listed), usd_per_hour=self._problem.usd_per_hour[listed]
            )
            self._made = key, self._make(part)
        return self._made[1]
