"""One grid for a problem's configurations and those of the tasks that it may learn from.

Tasks may have other values, other knobs, or gaps in their grids. Here every knob has the union of all values, and a
configuration is a row of ranks in them; a knob that a task does not have stands at `ABSENT`.

Notation:
    v_j    values of knob j, all tasks together
    g      rows: the n configurations of the problem by position, then those that only sources have
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from searchers.base import Task
from searchers.space import Knob, Space, Value

ABSENT = -1
"""Rank of a knob that a task does not have."""


@dataclass(frozen=True)
class Axis:
    """One knob over all tasks.

    Args:
        name: of the knob.
        features: `[v, c]` what each value is; one unit in a column is the spread (standard deviation) of its values.
        identity: whether two values of the same features may still differ: those of a categorical knob.
    """

    name: str
    features: np.ndarray
    identity: bool


@dataclass(frozen=True)
class Atlas:
    """The joint grid.

    Args:
        axes: the knobs.
        ranks: `[g, knobs]` rank of each row's value on each axis.
        n: how many of the rows are the problem's.
        rows: for each source and each of its observations, in order, the row.
    """

    axes: tuple[Axis, ...]
    ranks: np.ndarray
    n: int
    rows: tuple[np.ndarray, ...]


def atlas(space: Space, tasks: Sequence[Task]) -> Atlas:
    """The joint grid of a space and of the tasks that are to say something about it."""
    spaces = [space, *(task.space for task in tasks)]
    names = list(dict.fromkeys(knob.name for each in spaces for knob in each.knobs))
    knobs = [[k for each in spaces for k in each.knobs if k.name == name] for name in names]
    values = [_values(same) for same in knobs]
    index = [{(type(v), v): i for i, v in enumerate(union)} for union in values]
    axes = tuple(_axis(name, same, union) for name, same, union in zip(names, knobs, values, strict=True))
    own = _ranks(space, np.arange(len(space)), names, index)
    theirs = [_ranks(task.space, np.array([o.position for o in task.observed], int), names, index) for task in tasks]
    # Rows in the order in which they first occur: the space's own come first, by position.
    every, first, inverse = np.unique(np.vstack([own, *theirs]), axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    row = np.empty(len(order), dtype=int)
    row[order] = np.arange(len(order))
    rows = np.split(row[inverse.ravel()], np.cumsum([len(own), *map(len, theirs)]))[1:-1]
    return Atlas(axes, every[order], len(own), tuple(rows))


def _values(knobs: Sequence[Knob]) -> list[Value]:
    return list({(type(v), v): v for knob in knobs for v in knob.values}.values())


def _axis(name: str, knobs: Sequence[Knob], values: Sequence[Value]) -> Axis:
    columns = list(dict.fromkeys(column for knob in knobs for column in knob.columns))
    index = {(type(v), v): i for i, v in enumerate(values)}
    table = np.full((len(values), len(columns)), np.nan)
    for knob in knobs:
        at = [columns.index(column) for column in knob.columns]
        for value, features in zip(knob.values, knob.features, strict=True):
            table[index[type(value), value], at] = features
    one_hot = all(column == f"{name}={v}" for knob in knobs for column, v in zip(knob.columns, knob.values, strict=False))
    identity = any(knob.kind == "categorical" for knob in knobs)
    if identity and one_hot:
        return Axis(name, np.zeros((len(values), 0)), identity)
    with np.errstate(invalid="ignore"):
        table = table - np.nanmean(table, axis=0)
        spread = np.nanstd(table, axis=0)
    return Axis(name, np.nan_to_num(table / np.where(spread > 1e-9, spread, np.inf)), identity)


def _ranks(space: Space, positions: np.ndarray, names: Sequence[str], index: Sequence[dict]) -> np.ndarray:
    """`[k, knobs]` joint ranks of some positions of a space."""
    own = {knob.name: i for i, knob in enumerate(space.knobs)}
    out = np.full((len(positions), len(names)), ABSENT, dtype=np.int32)
    for j, name in enumerate(names):
        if name in own:
            knob = space.knobs[own[name]]
            table = np.array([index[j][type(v), v] for v in knob.values], dtype=np.int32)
            out[:, j] = table[space.ranks[positions, own[name]]]
    return out
