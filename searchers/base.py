"""What all searchers share: Observation, History, Task, Problem with what is expected, the protocol, the choice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np

from searchers.objective import Metrics, Objective
from searchers.quantities import sounds_like_a_share
from searchers.space import Space


@dataclass(frozen=True)
class Observation:
    """The result of trying one configuration.

    Args:
        position: the configuration's number in its space.
        metrics: everything that was measured; None if the configuration could not run.
    """

    position: int
    metrics: Metrics | None


@dataclass(frozen=True)
class History:
    """The state of a study that a searcher sees: observations in order, and positions of trials still running."""

    observed: tuple[Observation, ...] = ()
    pending: frozenset[int] = frozenset()

    @cached_property
    def taken(self) -> frozenset[int]:
        """Positions that must not be suggested again: observed or pending."""
        return self.pending | {o.position for o in self.observed}

    def observe(self, position: int, metrics: Metrics | None) -> History:
        """A copy of this history with one more observation, whose position is no longer pending."""
        return History((*self.observed, Observation(position, metrics)), self.pending - {position})

    def await_(self, position: int) -> History:
        """A copy of this history with one more running trial."""
        return History(self.observed, self.pending | {position})


@dataclass(frozen=True, eq=False)
class Task:
    """An earlier service, measured in all or some of its configurations, from which a searcher may learn.

    Tasks are compared by identity, so what was learned from a tuple of them can be cached under that tuple.

    Args:
        name: name of the service, for messages.
        space: its configurations; the knobs may differ from those of the problem at hand.
        observed: its measurements; a configuration may occur more than once.
        facts: what was known before its first trial (sizes, workload), by name; unknown facts are absent.
        group: tasks of one group are the same model under different workloads, so they say little about how much a
            new model may differ; the task's own name when left out.
    """

    name: str
    space: Space
    observed: tuple[Observation, ...]
    facts: Mapping[str, float] = field(default_factory=dict)
    group: str = ""

    def __post_init__(self) -> None:
        if not self.group:
            object.__setattr__(self, "group", self.name)


@dataclass(frozen=True, eq=False)
class ExpectedMetrics:
    """What is expected of a service's metrics before its first trial, for example a prediction from its operators.

    An expectation is off by a level that all configurations share, and at each configuration by an amount of its own.

    Args:
        by: who says so, for messages ("operators").
        log_mean: metric → `[n]` expected natural logarithm at each configuration.
        log_std: metric → `[n]` standard deviation of the logarithm at each configuration, once the level is known. A
            configuration of which little is known has a large one.
        level_std: metric → standard deviation of the level; a metric that is left out has an unknown level, and its
            first measurement tells it.
        runs: `[n]` probability that a configuration can run; not known where left out.

    Raises:
        ValueError: metrics or shapes do not match, a number is not finite, or a deviation or probability is impossible.
    """

    by: str
    log_mean: Mapping[str, np.ndarray]
    log_std: Mapping[str, np.ndarray]
    level_std: Mapping[str, float] = field(default_factory=dict)
    runs: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not self.log_mean or self.log_mean.keys() != self.log_std.keys():
            raise ValueError(
                f"what {self.by} expects needs `log_mean` and `log_std` of the same metrics, one or more; got "
                f"{sorted(self.log_mean)} and {sorted(self.log_std)}"
            )
        for metric, mean in self.log_mean.items():
            std = self.log_std[metric]
            if mean.shape != (len(self),) or std.shape != mean.shape or not np.isfinite([mean, std]).all():
                raise ValueError(
                    f"what {self.by} expects of {metric} needs a finite mean and standard deviation for each of "
                    f"{len(self)} configurations; give one of which nothing is known a large standard deviation"
                )
            if (std < 0).any() or not self.level_std.get(metric, 0.0) >= 0:
                raise ValueError(f"what {self.by} expects of {metric} has a standard deviation below 0")
        if unknown := sorted(self.level_std.keys() - self.log_mean.keys()):
            raise ValueError(f"what {self.by} expects has a `level_std` of {unknown[0]}, but no `log_mean` of it")
        if self.runs is not None and not (self.runs.shape == (len(self),) and (abs(self.runs - 0.5) <= 0.5).all()):
            raise ValueError(f"`runs` by {self.by} needs a probability for each of {len(self)} configurations")

    def __len__(self) -> int:
        """Number of configurations, n."""
        return len(next(iter(self.log_mean.values())))

    def at(self, positions: np.ndarray) -> ExpectedMetrics:
        """What is expected of the configurations at `positions` alone, in this order."""
        return ExpectedMetrics(
            self.by,
            {metric: mean[positions] for metric, mean in self.log_mean.items()},
            {metric: std[positions] for metric, std in self.log_std.items()},
            self.level_std,
            None if self.runs is None else self.runs[positions],
        )


@dataclass(frozen=True)
class Problem:
    """A search problem: the space, the objective, the prices, and what is known before the first trial.

    Args:
        space: the n allowed configurations.
        objective: the goal and the limits.
        usd_per_hour: `[n]` price of each configuration, known before any trial; NaN where prices are unknown.
        facts: what is known about the service before its first trial, as in `Task`.
        sources: earlier services. A searcher that does not learn from others ignores them.
        kept: metrics whose limit the load test keeps by itself, as it looks for the highest rate within that limit:
            their measured values describe the load, not the configuration.
        noise: relative standard deviation of repeated measurements of one configuration.
        shares: metrics that are shares (of requests, of equal answers); None where only names are known: a name tells.
        expected: what is expected of metrics before the first trial; None where nobody says. It may be of some of the
            metrics only, and of others that the objective does not name.

    Raises:
        ValueError: the prices or what is expected do not match the space.
    """

    space: Space
    objective: Objective
    usd_per_hour: np.ndarray = field(default_factory=lambda: np.empty(0))
    facts: Mapping[str, float] = field(default_factory=dict)
    sources: tuple[Task, ...] = ()
    kept: frozenset[str] = frozenset()
    noise: float = 0.03
    shares: frozenset[str] | None = None
    expected: ExpectedMetrics | None = None

    def __post_init__(self) -> None:
        if self.usd_per_hour.size == 0:
            object.__setattr__(self, "usd_per_hour", np.full(len(self.space), np.nan))
        if self.usd_per_hour.shape != (len(self.space),):
            raise ValueError(
                f"`usd_per_hour` needs one price for each of the {len(self.space)} configurations; its shape is "
                f"{self.usd_per_hour.shape}"
            )
        if self.expected is not None and len(self.expected) != len(self.space):
            raise ValueError(
                f"what {self.expected.by} expects is of {len(self.expected)} configurations; the space has "
                f"{len(self.space)}"
            )

    def is_share(self, metric: str) -> bool:
        """Whether a metric is a share, mostly 0 or mostly 1, rather than an amount that acts by ratios."""
        return sounds_like_a_share(metric) if self.shares is None else metric in self.shares

    def value(self, observation: Observation) -> float | None:
        """The observation's value under the objective; None if it is infeasible."""
        return self.objective.value(observation.metrics, float(self.usd_per_hour[observation.position]))

    def values(self, history: History) -> np.ndarray:
        """`[k]` the observed values in order; 0 for infeasible ones."""
        return np.array([self.value(o) or 0.0 for o in history.observed])

    def best(self, history: History) -> Observation | None:
        """The observation with the largest value, the earliest of equals; None while none is feasible."""
        counted = [(v, o) for o in history.observed if (v := self.value(o)) is not None]
        return max(counted, key=lambda pair: pair[0])[1] if counted else None


class Searcher(Protocol):
    """Suggests the next configuration from the history alone, so that saving the history saves the searcher."""

    def suggest(self, history: History, rng: np.random.Generator) -> int | None:
        """A position that is not in `history.taken`; None when there is none left."""
        ...


@runtime_checkable
class PredictsGain(Protocol):
    """A searcher that can estimate whether further trials are worthwhile."""

    def chance_of_more(self, history: History, margin: float) -> float:
        """Probability that some configuration is better than all measured ones by more than the fraction `margin`."""
        ...


@runtime_checkable
class PredictsValues(Protocol):
    """A searcher that can say what it expects of every configuration."""

    def predicted(self, history: History) -> np.ndarray:
        """`[S, n]` equally likely values of all configurations, 0 where one is infeasible."""
        ...


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
