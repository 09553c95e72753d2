"""The seam between a search and what it searches: Observation, History, Task, Problem, Searcher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np

from searchers.objective import Metrics, Objective
from searchers.space import Space


@dataclass(frozen=True)
class Observation:
    """What trying one configuration gave.

    Args:
        position: which configuration, as the space numbers it.
        metrics: everything that was measured; None if the configuration could not run.
    """

    position: int
    metrics: Metrics | None


@dataclass(frozen=True)
class History:
    """All that a searcher may know of the study: what was observed, in order, and what is still running."""

    observed: tuple[Observation, ...] = ()
    pending: frozenset[int] = frozenset()

    @cached_property
    def taken(self) -> frozenset[int]:
        """Positions that must not be suggested again: observed or pending."""
        return self.pending | {o.position for o in self.observed}

    def observe(self, position: int, metrics: Metrics | None) -> History:
        """This history with one more observation, which is no longer pending."""
        return History((*self.observed, Observation(position, metrics)), self.pending - {position})

    def await_(self, position: int) -> History:
        """This history with one more trial running."""
        return History(self.observed, self.pending | {position})


@dataclass(frozen=True, eq=False)
class Task:
    """A service that was studied before, all of it or a few configurations: what a searcher may learn from.

    Tasks are equal only to themselves, so what was learned from a tuple of them can be kept by that tuple.

    Args:
        name: for messages.
        space: its configurations; its knobs may be others than those of the problem at hand.
        observed: what was measured; a configuration may occur more than once.
        facts: what was known before its first trial (sizes, workload), by name; missing where unknown.
        group: tasks of one group are the same model under other workloads, so they say little of how far a new
            model may differ; the task's own name when left out.
    """

    name: str
    space: Space
    observed: tuple[Observation, ...]
    facts: Mapping[str, float] = field(default_factory=dict)
    group: str = ""

    def __post_init__(self) -> None:
        if not self.group:
            object.__setattr__(self, "group", self.name)


@dataclass(frozen=True)
class Problem:
    """What is searched: the space, what counts as good, what each configuration costs, what is known before.

    Args:
        space: the n allowed configurations.
        objective: what is maximised.
        usd_per_hour: `[n]` price of each configuration, known before any trial; NaN where prices are unknown.
        facts: what is known of the service before its first trial, as in `Task`.
        sources: services studied before. A searcher that does not learn from others ignores them.
        kept: metrics whose limit each trial's load keeps by itself, as it looks for the highest rate within it: what
            is measured of them says how the load went, not what the configuration is.
        noise: relative standard deviation of one measurement, as if it were repeated.

    Raises:
        ValueError: prices that do not match the space.
    """

    space: Space
    objective: Objective
    usd_per_hour: np.ndarray = field(default_factory=lambda: np.empty(0))
    facts: Mapping[str, float] = field(default_factory=dict)
    sources: tuple[Task, ...] = ()
    kept: frozenset[str] = frozenset()
    noise: float = 0.03

    def __post_init__(self) -> None:
        if self.usd_per_hour.size == 0:
            object.__setattr__(self, "usd_per_hour", np.full(len(self.space), np.nan))
        if self.usd_per_hour.shape != (len(self.space),):
            raise ValueError(
                f"one price for each of the {len(self.space)} configurations, got {self.usd_per_hour.shape}"
            )

    def value(self, observation: Observation) -> float | None:
        """The observation's value under the objective; None if it does not count."""
        return self.objective.value(observation.metrics, float(self.usd_per_hour[observation.position]))

    def values(self, history: History) -> np.ndarray:
        """`[k]` the observed values in order; 0 for what does not count."""
        return np.array([self.value(o) or 0.0 for o in history.observed])

    def best(self, history: History) -> Observation | None:
        """The observation of the largest value, the earliest of equals; None while nothing counts."""
        counted = [(v, o) for o in history.observed if (v := self.value(o)) is not None]
        return max(counted, key=lambda pair: pair[0])[1] if counted else None


class Searcher(Protocol):
    """Which configuration next? A function of the history alone, so a saved history is a saved searcher."""

    def suggest(self, history: History, rng: np.random.Generator) -> int | None:
        """A position that is not in `history.taken`; None when there is none left."""
        ...


@runtime_checkable
class PredictsGain(Protocol):
    """A searcher that can say whether going on is worth it."""

    def chance_of_more(self, history: History, margin: float) -> float:
        """The chance that some configuration is better than all measured ones by more than a fraction `margin`."""
        ...
