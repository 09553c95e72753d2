"""One grid for a problem's configurations and those of the tasks that it may learn from.

Tasks may have other values, other knobs, or gaps in their grids. Here every knob has the union of all values, and a
configuration is a row of ranks in them; a knob that a task does not have stands at rank -1.

Notation:
    v    values of a knob, all tasks together
    g    rows: the problem's n configurations by position, then those that only other tasks have
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from searchers.base import Task
from searchers.space import Knob, Space, Value

ABSENT = -1
"""Rank of a knob that a task does not have: an index from the end."""

Index = Mapping[tuple[type, Value], int]


@dataclass(frozen=True)
class GridAxis:
    """One knob over all tasks.

    Args:
        name: of the knob.
        features: `[v, c]` what each value is, each column standardised over the values; no columns for a
            categorical knob of which only the names are known.
        categorical: whether two values may differ for reasons that features do not tell.
    """

    name: str
    features: np.ndarray
    categorical: bool


@dataclass(frozen=True)
class JointGrid:
    """The joint grid.

    Args:
        axes: the knobs.
        ranks: `[g, knobs]` rank of each row's value on each axis.
        n: how many rows are the problem's.
        rows: for each task and each of its observations, in order, the row.
    """

    axes: tuple[GridAxis, ...]
    ranks: np.ndarray
    n: int
    rows: tuple[np.ndarray, ...]


def grid_over(space: Space, tasks: Sequence[Task]) -> JointGrid:
    """The joint grid of a space and of the tasks that are to say something about it."""
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
        return GridAxis(name, np.zeros((len(values), 0)), categorical)  # one-hot: nothing but the names
    columns = list(dict.fromkeys(column for knob in knobs for column in knob.columns))
    table = np.zeros((len(values), len(columns)))
    for knob in knobs:
        at = [columns.index(column) for column in knob.columns]
        for value, features in zip(knob.values, knob.features, strict=True):
            table[index[type(value), value], at] = features
    spread = table.std(axis=0)
    return GridAxis(name, (table - table.mean(axis=0)) / np.where(spread > 1e-9, spread, np.inf), categorical)


def _ranks(space: Space, positions: np.ndarray, indices: Mapping[str, Index]) -> np.ndarray:
    """`[k, knobs]` joint ranks of some positions of a space."""
    out = np.full((len(positions), len(indices)), ABSENT)
    own = {knob.name: j for j, knob in enumerate(space.knobs)}
    for column, (name, index) in zip(out.T, indices.items(), strict=True):
        if name in own:
            joint = np.array([index[type(v), v] for v in space.knobs[own[name]].values])
            column[:] = joint[space.ranks[positions, own[name]]]
    return out
