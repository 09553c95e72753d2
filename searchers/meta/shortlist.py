"""Search of a large space by a searcher that models all configurations jointly and so can be given only some."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Protocol

import numpy as np

from searchers.base import History, Observation, PredictsGain, Problem, Searcher, Task

_CLIMBED = 3
"""Number of configurations whose neighbours are added, and of a source's best that are in the list. Our choice."""


class SearcherByWorth(Searcher, PredictsGain, Protocol):
    """The kind of searcher that is used on the shortlist."""

    def worth(self, history: History) -> np.ndarray:
        """`[n]` how much it is worth to measure each configuration; the order is what counts."""
        ...


class Shortlisted:
    """Searches a shortlist: a random sample, what was best for the sources, and neighbours of what is good.

    The sample shows which region is good; the neighbours, which differ in one knob, lead from there to configurations
    outside the sample: those of the best so far, and those of what is most worth measuring in the list.

    Args:
        problem: the problem with the whole space.
        make: makes the searcher, given the problem with the shortlist as its space.
        most: number of configurations that are drawn at random.
    """

    def __init__(self, problem: Problem, make: Callable[[Problem], SearcherByWorth], *, most: int) -> None:
        self._problem = problem
        self._make = make
        self._sample = np.random.default_rng(0).choice(len(problem.space), most, replace=False)
        self._of_sources = np.array([p for source in problem.sources for p in best_of(source, problem)], dtype=int)
        self._made: dict[bytes, SearcherByWorth] = {}

    def suggest(self, history: History, rng: np.random.Generator) -> int | None:
        """The searcher's suggestion from the shortlist; a random free position once all of the shortlist is taken."""
        if len(history.taken) >= len(self._problem.space):
            return None
        listed = self._climbed(history)
        chosen = self._searcher(listed).suggest(_within(listed, history), rng)
        if chosen is not None:
            return int(listed[chosen])
        return int(rng.choice(np.setdiff1d(np.arange(len(self._problem.space)), list(history.taken))))

    def chance_of_more(self, history: History, margin: float) -> float:
        """The searcher's answer for the shortlist, to which the search for the largest acquisition has led."""
        listed = self._climbed(history)
        return self._searcher(listed).chance_of_more(_within(listed, history), margin)

    def _climbed(self, history: History) -> np.ndarray:
        """Positions of the shortlisted configurations, ascending: the list to begin with, and a step uphill from it.

        The step: neighbours of those that are most worth measuring, which takes the list to where the priors say that
        the best is, also before any trial.
        """
        listed = self._listed(history)
        worth = self._searcher(listed).worth(_within(listed, history))
        return self._with_neighbours(listed, listed[np.argsort(-worth, kind="stable")[:_CLIMBED]])

    def _listed(self, history: History) -> np.ndarray:
        """The list to begin with: the sample, what is taken, the sources' best, and neighbours of the best so far."""
        values = [(self._problem.value(o) or 0.0, o.position) for o in history.observed]
        best = [position for value, position in sorted(values, reverse=True)[:_CLIMBED] if value > 0]
        taken = np.array(list(history.taken), dtype=int)
        return self._with_neighbours(np.concatenate([self._sample, self._of_sources, taken]), best)

    def _with_neighbours(self, listed: np.ndarray, of: Iterable[int]) -> np.ndarray:
        return np.unique(np.concatenate([listed, *(self._problem.space.neighbours(int(position)) for position in of)]))

    def _searcher(self, listed: np.ndarray) -> SearcherByWorth:
        """The searcher of this shortlist; a history's two are kept, as more than a suggestion is asked about it."""
        key = listed.tobytes()
        if key not in self._made:
            whole = self._problem
            part = replace(
                whole,
                space=whole.space.subset(listed),
                usd_per_hour=whole.usd_per_hour[listed],
                expected=None if whole.expected is None else whole.expected.at(listed),
            )
            *_, last = (None, *self._made)
            kept = {} if last is None else {last: self._made[last]}
            self._made = kept | {key: self._make(part)}
        return self._made[key]


def best_of(source: Task, problem: Problem) -> list[int]:
    """Positions in the problem's space of what was best for a source, by the problem's objective and prices.

    At most `_CLIMBED`, and only those whose values the problem's knobs have.
    """
    values: dict[int, float] = {}
    for each in source.observed:
        config = source.space[each.position]
        try:
            position = problem.space.position({k.name: config[k.name] for k in problem.space.knobs if k.name in config})
        except KeyError:  # not allowed here, or without one of the knobs
            continue
        if (value := problem.value(Observation(position, each.metrics))) is not None:
            values[position] = value
    return sorted(values, key=values.__getitem__, reverse=True)[:_CLIMBED]


def _within(listed: np.ndarray, history: History) -> History:
    """The history with positions counted within the shortlist, which contains every taken position."""
    place = {int(position): i for i, position in enumerate(listed)}
    observed = tuple(Observation(place[o.position], o.metrics) for o in history.observed)
    return History(observed, frozenset(place[p] for p in history.pending))
