"""The finite space of configurations: knobs, the combinations that are allowed, and their features.

Notation used in `searchers`:
    n   allowed configurations in a space, numbered 0 … n-1 ("positions")
    d   feature columns
    x   `[n, d]` features of every configuration, or of some
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

Value = str | int | float | bool
Config = dict[str, Value]
"""One value for every knob of a space."""


def typed(config: Mapping[str, Value]) -> tuple[tuple[str, type, Value], ...]:
    """Return a key of a configuration that tells True from 1, which are different values, whatever the order."""
    return tuple((name, type(value), value) for name, value in sorted(config.items()))


@dataclass(frozen=True)
class Knob:
    """One tunable setting of a configuration, with the values that it may have.

    Args:
        name: name of the setting, with its unit (`batch_wait_ms`).
        values: the distinct values that may be chosen; an ordinal knob lists them in order.
        kind: whether neighbouring values are alike ("ordinal") or merely different ("categorical").
        columns: names of the feature columns that the knob contributes. Columns of the same name mean the
            same quantity in every space, so that a meta-model can be used on another space.
        features: for each value its features, in the order of `columns`. When left out: log2 of the values for an
            ordinal knob of positive numbers, the values themselves for other numbers, the rank for an ordinal knob
            of other values, one-hot for a categorical knob.
        changes: what a change of value needs: "in place" (a live replica can take the new value) or "new replica".
        apart: for a knob that changes in place, one number for each value: a live replica can change only between
            values that have the same number. When left out, it can change between all of them.

    Raises:
        ValueError: no values, repeated values, numbers that are not finite (a categorical knob may have infinities), or
            `features` or `apart` that do not match the other arguments.
    """

    name: str
    values: tuple[Value, ...]
    kind: Literal["ordinal", "categorical"] = "ordinal"
    columns: tuple[str, ...] = ()
    features: tuple[tuple[float, ...], ...] = ()
    changes: Literal["in place", "new replica"] = "new replica"
    apart: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        # Typed keys: True and 1 are different values of a knob, though equal in Python.
        if not self.values or len({(type(v), v) for v in self.values}) != len(self.values):
            raise ValueError(f"knob {self.name!r} needs one or more distinct values, got {list(self.values)}")
        if odd := [v for v in self.values if isinstance(v, int | float) and not self._has_place(v)]:
            raise ValueError(f"knob {self.name!r} has {odd[0]!r} among its values, which is not a finite number")
        if not self.columns:
            if self.features:
                raise ValueError(f"knob {self.name!r} has features, but no columns that name them")
            columns, features = _default_encoding(self.name, self.values, self.kind)
            object.__setattr__(self, "columns", columns)
            object.__setattr__(self, "features", features)
        if len(self.features) != len(self.values) or any(len(f) != len(self.columns) for f in self.features):
            raise ValueError(
                f"knob {self.name!r} needs {len(self.columns)} features ({', '.join(self.columns)}) "
                f"for each of its {len(self.values)} values"
            )
        if self.apart and (self.changes == "new replica" or len(self.apart) != len(self.values)):
            raise ValueError(
                f"knob {self.name!r}: `apart` needs changes='in place' and one number for each of its "
                f"{len(self.values)} values, got {self.changes!r} and {list(self.apart)}"
            )

    def _has_place(self, value: float) -> bool:
        """Whether a number is equal to itself and, where numbers are features, within those of 64 bits."""
        return value == value and (self.kind == "categorical" or abs(value) <= sys.float_info.max)

    @property
    def needs(self) -> tuple[int, ...]:
        """One number for each value: a live replica can change between two values if their numbers are equal."""
        if self.changes == "new replica":
            return tuple(range(len(self.values)))
        return self.apart or (0,) * len(self.values)


def _default_encoding(
    name: str, values: Sequence[Value], kind: str
) -> tuple[tuple[str, ...], tuple[tuple[float, ...], ...]]:
    if kind == "categorical":
        one_hot = np.eye(len(values))
        return tuple(f"{name}={v}" for v in values), tuple(tuple(row) for row in one_hot.tolist())
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) == len(values):
        if min(numbers) > 0:
            return (f"log2_{name}",), tuple((math.log2(v),) for v in numbers)
        return (name,), tuple((float(v),) for v in numbers)
    return (f"rank_{name}",), tuple((float(i),) for i in range(len(values)))


class Space:
    """The allowed configurations, numbered from 0; immutable.

    Args:
        knobs: the knobs; a configuration has one value of each.
        allowed: the combinations that are allowed; all of them when left out.

    Raises:
        ValueError: no knobs, repeated knob names, or no allowed configuration.
        KeyError: an allowed configuration is not a combination of the knobs' values.
    """

    def __init__(self, knobs: Iterable[Knob], allowed: Iterable[Mapping[str, Value]] | None = None) -> None:
        self.knobs = tuple(knobs)
        names = [knob.name for knob in self.knobs]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"a space needs one or more knobs of different names, got {names}")
        self._shape = tuple(len(knob.values) for knob in self.knobs)
        self._rank = tuple({(type(v), v): i for i, v in enumerate(knob.values)} for knob in self.knobs)
        if allowed is None:
            cells = np.arange(math.prod(self._shape))
        else:
            cells = np.unique(np.array([self._cell(config) for config in allowed], dtype=np.int64))
        if len(cells) == 0:
            raise ValueError("a space needs at least one allowed configuration")
        # Cell numbers of the full product, ascending; a position is an index into this array.
        self._cells = cells

    def __len__(self) -> int:
        return len(self._cells)

    def __getitem__(self, position: int) -> Config:
        """The configuration at a position; IndexError outside 0 … len-1."""
        if not 0 <= position < len(self):
            raise IndexError(f"position {position} of a space of {len(self)} configurations")
        ranks = np.unravel_index(self._cells[position], self._shape)
        return {knob.name: knob.values[int(r)] for knob, r in zip(self.knobs, ranks, strict=True)}

    def subset(self, positions: np.ndarray) -> Space:
        """The space of the configurations at `positions`, each once, in ascending order of position."""
        out = Space.__new__(Space)
        out.knobs, out._shape, out._rank = self.knobs, self._shape, self._rank
        out._cells = self._cells[np.unique(positions)]
        return out

    def neighbours(self, position: int) -> np.ndarray:
        """Positions of the allowed configurations that differ from this one in one knob only, in ascending order."""
        cell = self._cells[position]
        ranks = np.unravel_index(cell, self._shape)
        strides = [math.prod(self._shape[j + 1 :]) for j in range(len(self._shape))]  # cells between a knob's values
        near = np.concatenate(
            [cell + stride * (np.arange(k) - r) for k, r, stride in zip(self._shape, ranks, strides, strict=True)]
        )
        near = np.unique(near[near != cell])
        at = np.searchsorted(self._cells, near)
        return at[self._cells[np.minimum(at, len(self) - 1)] == near]

    def position(self, config: Mapping[str, Value]) -> int:
        """The number of a configuration; KeyError if it is not allowed."""
        cell = self._cell(config)
        index = int(np.searchsorted(self._cells, cell))
        if index == len(self) or self._cells[index] != cell:
            raise KeyError(f"configuration {dict(config)} is not allowed in this space")
        return index

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Names of the d feature columns; knobs that share a column are added up in it (as logarithms: a product)."""
        return tuple(dict.fromkeys(column for knob in self.knobs for column in knob.columns))

    @cached_property
    def ranks(self) -> np.ndarray:
        """`[n, knobs]` index of each configuration's value among each knob's values, by position."""
        out = np.stack(np.unravel_index(self._cells, self._shape), axis=1)
        out.setflags(write=False)
        return out

    @cached_property
    def features(self) -> np.ndarray:
        """`[n, d]` float64 features of every configuration, by position; not standardised."""
        index = {column: i for i, column in enumerate(self.columns)}
        out = np.zeros((len(self), len(index)))
        for knob, ranks in zip(self.knobs, self.ranks.T, strict=True):
            table = np.zeros((len(knob.values), len(index)))
            table[:, [index[column] for column in knob.columns]] = knob.features
            out += table[ranks]
        out.setflags(write=False)
        return out

    def _cell(self, config: Mapping[str, Value]) -> int:
        if set(config) != {knob.name for knob in self.knobs}:
            raise KeyError(f"configuration {dict(config)} must name exactly {[k.name for k in self.knobs]}")
        try:
            ranks = [
                rank[type(v), v]
                for knob, rank in zip(self.knobs, self._rank, strict=True)
                for v in (config[knob.name],)
            ]
        except KeyError as error:
            raise KeyError(
                f"configuration {dict(config)} has a value that its knob does not offer: {error.args[0][1]!r}"
            ) from None
        return int(np.ravel_multi_index(ranks, self._shape))
