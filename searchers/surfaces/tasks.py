"""Conversion of studied services to arrays for the training of surfaces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from searchers.base import Observation, Task
from searchers.quantities import PRICE, ROLES, role
from searchers.surfaces.families import family_probabilities
from searchers.surfaces.inputs import Inputs, is_quantity

_LEAST_SHARE = 0.05
"""A set of facts makes a family if at least this share of tasks has exactly it; other tasks join the likeliest one."""


@dataclass(frozen=True)
class Studied:
    """One task as arrays.

    Args:
        features: `[k, c]` raw features of the observed configurations.
        columns: names of the c columns; only those that mean the same in every space.
        log: `[k, R]` natural logarithm of each role's metric; NaN where not measured or the trial could not run.
        ran: `[k]` whether the trial could run.
        facts: the positive facts, by name.
    """

    features: np.ndarray
    columns: tuple[str, ...]
    log: np.ndarray
    ran: np.ndarray
    facts: dict[str, float]


def studied(task: Task) -> Studied:
    """Convert a task's observations; a role's metric is the one that most of them have (the first of equals)."""
    keep = [i for i, column in enumerate(task.space.columns) if is_quantity(column)]
    positions = [o.position for o in task.observed]
    positive = Counter(name for o in task.observed for name, v in (o.metrics or {}).items() if _positive(v))
    log = np.full((len(positions), len(ROLES)), np.nan)
    for r, wanted in enumerate(ROLES):
        names = [name for name in positive if name != PRICE and role(name) == wanted]
        if names:
            log[:, r] = _logarithms(task.observed, max(names, key=lambda name: positive[name]))
    return Studied(
        task.space.features[positions][:, keep],
        tuple(task.space.columns[i] for i in keep),
        log,
        np.array([o.metrics is not None for o in task.observed]),
        {name: value for name, value in task.facts.items() if _positive(value)},
    )


def _positive(value: float) -> bool:
    return bool(np.isfinite(value) and value > 0)


def _logarithms(observed: Iterable[Observation], name: str) -> list[float]:
    values = ((o.metrics or {}).get(name, np.nan) for o in observed)
    return [float(np.log(v)) if _positive(v) else np.nan for v in values]


@dataclass(frozen=True)
class Shelf:
    """T tasks as arrays of one shape, each with up to P observations.

    Args:
        x: `[T, P, 2C]` inputs.
        log: `[T, P, R]` targets; NaN where there is none.
        ran: `[T, P]` 1 or 0; NaN beyond a task's observations.
        u: `[T, F]` standardised facts; NaN where missing.
        has: `[T, C]` which columns a task's space has.
    """

    x: np.ndarray
    log: np.ndarray
    ran: np.ndarray
    u: np.ndarray
    has: np.ndarray


def inputs_of(tasks: Iterable[Studied]) -> Inputs:
    """The columns and facts that the tasks have, with their means and scales."""
    tasks = list(tasks)
    columns = tuple(sorted({column for task in tasks for column in task.columns}))
    facts = tuple(sorted({name for task in tasks for name in task.facts}))
    values = [
        np.concatenate([t.features[:, t.columns.index(column)] for t in tasks if column in t.columns])
        for column in columns
    ]
    logs = [np.log([t.facts[name] for t in tasks if name in t.facts]) for name in facts]
    return Inputs(columns, *_moments(values), facts, *_moments(logs))


def _moments(values: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and scale of each array; the scale is its standard deviation, or 1 where nothing varies."""
    mean = np.array([v.mean() for v in values])
    scale = np.array([v.std() for v in values])
    return mean, np.where(scale > 1e-9, scale, 1.0)


def shelve(tasks: Iterable[Studied], inputs: Inputs, points: int, rng: np.random.Generator) -> Shelf:
    """Stack the tasks into arrays; of a task with more than `points` observations, that many are chosen at random."""
    tasks = list(tasks)
    shelf = Shelf(
        np.zeros((len(tasks), points, 2 * len(inputs.columns)), dtype=np.float32),
        np.full((len(tasks), points, len(ROLES)), np.nan, dtype=np.float32),
        np.full((len(tasks), points), np.nan, dtype=np.float32),
        np.stack([inputs.of_facts(t.facts) for t in tasks]),
        np.array([[column in t.columns for column in inputs.columns] for t in tasks]),
    )
    for i, task in enumerate(tasks):
        chosen = rng.permutation(len(task.ran))[:points]
        k = len(chosen)
        shelf.x[i, :k] = inputs.of_space(task.features[chosen], task.columns)
        shelf.log[i, :k], shelf.ran[i, :k] = task.log[chosen], task.ran[chosen]
    return shelf


@dataclass(frozen=True)
class Kinds:
    """The families of the tasks, without the moments of their latents, which are known only after training.

    Args:
        of: `[T]` index of each task's family.
        columns: `[G, C]`, facts: `[G, F]`, fact_mean: `[G, F]`, fact_covariance: `[G, F, F]`: as in `Families`.
    """

    of: np.ndarray
    columns: np.ndarray
    facts: np.ndarray
    fact_mean: np.ndarray
    fact_covariance: np.ndarray


def kinds(shelf: Shelf) -> Kinds:
    """Group tasks into families by their sets of facts: each frequent set is a family, with its tasks' moments."""
    given = ~np.isnan(shelf.u)
    sets, member, counts = np.unique(given, axis=0, return_inverse=True, return_counts=True)
    often = [s for s in np.argsort(-counts, kind="stable") if counts[s] >= _LEAST_SHARE * len(given) and sets[s].any()]
    often = often or [int(np.argmax(counts))]
    tasks = [np.flatnonzero(member.ravel() == s) for s in often]
    facts = sets[often].astype(float)
    columns = np.stack([shelf.has[at].mean(axis=0) for at in tasks])
    mean, covariance = np.zeros_like(facts), np.zeros((*facts.shape, facts.shape[1]))
    of = np.array(
        [family_probabilities(columns, facts, h, u).argmax() for h, u in zip(shelf.has, shelf.u, strict=True)]
    )
    for g, at in enumerate(tasks):
        of[at] = g
        has = np.flatnonzero(facts[g])
        mean[g, has] = shelf.u[at][:, has].mean(axis=0)
        covariance[g][np.ix_(has, has)] = np.atleast_2d(np.cov(shelf.u[at][:, has].T, ddof=0)) if len(has) else 0.0
    return Kinds(of, columns, facts, mean, covariance)
