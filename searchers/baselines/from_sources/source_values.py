"""Values of earlier services under the objective at hand; the only module of the baselines that reads sources.

A source may have other metrics and another space; what carries over is each configuration's value under this problem's
objective, its features by column name, and its number in this space if it exists here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache, wraps
from typing import Any, TypeVar

import numpy as np

from searchers.base import Observation, Problem, Task
from searchers.quantities import PRICE

Learnt = TypeVar("Learnt")


@dataclass(frozen=True, eq=False)
class Source:
    """One source in this problem's terms; m is the number of its observations that have a value.

    Args:
        positions: `[m]` number of the configuration in this problem's space, -1 if it is not there.
        x: `[m, d]` features in this problem's columns, scaled as `unit_cube`.
        values: `[m]` values under this problem's objective; 0 for infeasible configurations.
    """

    positions: np.ndarray
    x: np.ndarray
    values: np.ndarray


def usd_per_hour_of(observation: Observation, position: int, problem: Problem) -> float:
    """Price of a source's configuration: as measured with it, else as in this problem; NaN if unknown.

    Args:
        observation: the source's observation.
        position: the configuration's number in this problem's space, -1 if it is not there.
        problem: the problem at hand.
    """
    if observation.metrics is not None and PRICE in observation.metrics:
        return float(observation.metrics[PRICE])
    return float(problem.usd_per_hour[position]) if position >= 0 else float("nan")


def unit_cube(problem: Problem, features: np.ndarray) -> np.ndarray:
    """`[m, d]` raw features, scaled so that this problem's space spans 0 to 1 in each column; a constant one is 0."""
    low, high = problem.space.features.min(axis=0), problem.space.features.max(axis=0)
    return (features - low) / np.where(high - low > 1e-12, high - low, np.inf)


def sources_of(problem: Problem) -> tuple[Source, ...]:
    """The sources in this problem's terms, without those that have no feasible configuration."""
    sources = (_source(task, problem) for task in problem.sources)
    return tuple(source for source in sources if source.values.any())


def observed_here(problem: Problem) -> tuple[tuple[Observation, ...], ...]:
    """Each source's observations of the configurations that this problem's space has too, under their numbers here."""
    return tuple(
        tuple(replace(o, position=p) for o in task.observed if (p := _position(task, o, problem)) >= 0)
        for task in problem.sources
    )


def fractions_of(problem: Problem) -> np.ndarray:
    """`[s, n]` each source's value of each configuration of this space, as a fraction of the source's best.

    NaN where the source does not have the configuration; the mean where it measured it more than once.
    """
    sources = sources_of(problem)
    out = np.full((len(sources), len(problem.space)), np.nan)
    for row, source in zip(out, sources, strict=True):
        here = source.positions >= 0
        times = np.bincount(source.positions[here], minlength=len(row))
        total = np.bincount(source.positions[here], weights=source.values[here], minlength=len(row))
        row[times > 0] = total[times > 0] / times[times > 0] / source.values.max()
    return out


def log_values(values: np.ndarray) -> np.ndarray:
    """`[m]` ln of the values; an infeasible configuration is taken to be as bad as the worst feasible one.

    In logarithms a factor between two configurations has the same weight whatever the service's level.

    Raises:
        ValueError: no value is feasible.
    """
    counts = values > 0
    if not counts.any():
        raise ValueError(f"none of the {len(values)} values is feasible")
    return np.log(np.where(counts, values, values[counts].min(initial=np.inf)))


def learnt_once(learn: Callable[[Problem], Learnt]) -> Callable[[Problem], Learnt]:
    """Decorator that caches what a function learns from a problem's sources; the eight latest results are kept.

    A benchmark builds a searcher for each of hundreds of searches with the same sources. The result must
    depend on nothing but the sources, the space, the objective and the prices.
    """
    kept = lru_cache(maxsize=8)(lambda key: learn(key.problem))

    @wraps(learn)
    def learnt(problem: Problem) -> Learnt:
        return kept(_CacheKey(_key(problem), problem))

    return learnt


@dataclass(frozen=True)
class _CacheKey:
    key: tuple[Any, ...]
    problem: Problem = field(compare=False)


def _key(problem: Problem) -> tuple[Any, ...]:
    space, objective = problem.space, problem.objective
    limits = (tuple(sorted(objective.at_most.items())), tuple(sorted(objective.at_least.items())))
    return (
        problem.sources, space.knobs, space.ranks.tobytes(), objective.goal, objective.minimize, limits,
        problem.usd_per_hour.tobytes(),
    )  # fmt: skip


def _source(task: Task, problem: Problem) -> Source:
    positions = np.array([_position(task, o, problem) for o in task.observed], dtype=np.int64)
    values = np.array([_value(o, int(p), problem) for o, p in zip(task.observed, positions, strict=True)])
    judged = ~np.isnan(values)
    theirs = np.array([o.position for o in task.observed], dtype=np.int64)[judged]
    return Source(positions[judged], unit_cube(problem, _features(task, problem)[theirs]), values[judged])


def _position(task: Task, observation: Observation, problem: Problem) -> int:
    try:
        return problem.space.position(task.space[observation.position])
    except KeyError:
        return -1


def _value(observation: Observation, position: int, problem: Problem) -> float:
    usd = usd_per_hour_of(observation, position, problem)
    if observation.metrics is not None and np.isnan(usd) and _needs_price(problem):
        return float("nan")  # Without its price, a configuration that ran has no value.
    return problem.objective.value(observation.metrics, usd) or 0.0


def _needs_price(problem: Problem) -> bool:
    return PRICE in problem.objective.goal.names or PRICE in problem.objective.limited


def _features(task: Task, problem: Problem) -> np.ndarray:
    """`[m, d]` features of a source's space in this problem's columns; this problem's mean where it lacks a column."""
    at = {column: i for i, column in enumerate(task.space.columns)}
    means = problem.space.features.mean(axis=0)
    out = np.tile(means, (len(task.space), 1))
    for j, column in enumerate(problem.space.columns):
        if column in at:
            out[:, j] = task.space.features[:, at[column]]
    return out
