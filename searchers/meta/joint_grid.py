"""Joint grid of a problem's configurations and those of the tasks that it may learn from.

Tasks may have other values, other knobs, or gaps in their grids. In the joint grid every knob has the union of all
values, and a configuration is a row of ranks in these unions; a knob that a task does not have has rank -1.

Notation:
    v    number of values of a knob in all tasks together
    g    number of rows: the problem's n configurations by position, then those that only other tasks have
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from searchers.base import Task
from searchers.space import Knob, Space, Value

ABSENT = -1
"""Rank of a knob that a task or a configuration does not have; used as an index, it selects the last entry."""

Index = Mapping[tuple[type, Value], int]


@dataclass(frozen=True)
class GridAxis:
    """One knob with its values in all tasks.

    Args:
        name: the knob's name.
        features: `[v, c]` features of each value, each column standardised over the values; no columns for a
            categorical knob whose values are known by name only.
        categorical: whether two values may differ for reasons that the features do not show.
    """

    name: str
    features: np.ndarray
    categorical: bool


@dataclass(frozen=True)
class JointGrid:
    """Grid of all configurations of a problem and its tasks.

    Args:
        axes: the knobs.
        ranks: `[g, knobs]` rank of each row's value on each axis.
        n: number of rows that belong to the problem.
        rows: for each task, the row of each of its observations, in order.
    """

    axes: tuple[GridAxis, ...]
    ranks: np.ndarray
    n: int
    rows: tuple[np.ndarray, ...]


def grid_over(space: Space, tasks: Sequence[Task]) -> JointGrid:
    """Build the joint grid of a space and of the tasks from which it is predicted."""
    spaces = [space, *(task.space for task in tasks)]
    names = list(dict.fromkeys(knob.name for each in spaces for knob in each.knobs))
    knobs = [[k for each in spaces for k in each.knobs if k.name == name] for name in names]
    values = [list({(type(v), v): v for knob in same for v in knob.values}.values()) for same in knobs]
    indices = [{(type(v), v): i for i, v in enumerate(union)} for union in values]
    axes = tuple(_axis(*each) for each in zip(names, knobs, values, indices, strict=True))
    by_name = dict(zip(names, indices, strict=True))
    own = _ranks(space, np.arange(len(space)), by_name)
    theirs = [_ranks(task.space, np.array([o.position for o in task.observed], dtype=int), by_name) for task in tasks]
    # Rows in the order in which they first occur: the space's own come first, by position.
    every, first, inverse = np.unique(np.vstack([own, *theirs]), axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    row = np.empty(len(order), dtype=int)
    row[order] = np.arange(len(order))
    rows = np.split(row[inverse.ravel()], np.cumsum([len(own), *map(len, theirs)]))[1:-1]
    return JointGrid(axes, every[order], len(own), tuple(rows))


def _axis(name: str, knobs: Sequence[Knob], values: Sequence[Value], index: Index) -> GridAxis:
    categorical = any(knob.kind == "categorical" for knob in knobs)
    if categorical and all(knob.columns == tuple(f"{name}={v}" for v in knob.values) for knob in knobs):
        return GridAxis(name, np.zeros((len(values), 0)), categorical)  # one-hot: only the names are known
    columns = list(dict.fromkeys(column for knob in knobs for column in knob.columns))
    table = np.zeros((len(values), len(columns)))
    for knob in knobs:
        at = [columns.index(column) for column in knob.columns]
        for value, features in zip(knob.values, knob.features, strict=True):
            table[index[type(value), value], at] = features
    spread = table.std(axis=0)
    return GridAxis(name, (table - table.mean(axis=0)) / np.where(spread > 1e-9, spread, np.inf), categorical)


def _ranks(space: Space, positions: np.ndarray, indices: Mapping[str, Index]) -> np.ndarray:
    """`[k, knobs]` ranks in the joint grid of the configurations at `[k]` positions of a space."""
    out = np.full((len(positions), len(indices)), ABSENT)
    own = {knob.name: j for j, knob in enumerate(space.knobs)}
    for column, (name, index) in zip(out.T, indices.items(), strict=True):
        if name in own:
            joint = np.array([index[type(v), v] for v in space.knobs[own[name]].values])
            column[:] = joint[space.ranks[positions, own[name]]]
            column[~space.exists[positions, own[name]]] = ABSENT
    return out
