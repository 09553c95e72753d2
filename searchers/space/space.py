"""The finite space of configurations: knobs, the combinations that are allowed, and their features.

Notation used in `searchers`:
    n   allowed configurations in a space, numbered 0 … n-1 ("positions")
    d   feature columns
    x   `[n, d]` features of every configuration, or of some
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

import numpy as np

from searchers.space.condition import Condition
from searchers.space.knob import Config, Knob
from searchers.space.rows import allowed_rows
from searchers.space.value import Value

_MOST_CELLS = np.iinfo(np.int64).max
"""Most cells of a full product: they are numbered in 64 bits."""


class Space:
    """The allowed configurations, numbered from 0; immutable.

    A knob that does not exist in a configuration has no value in it. For searchers, which work with a matrix, it has
    rank 0 and the features of its first value there; `exists` tells these from configurations that have that value.

    Args:
        knobs: the knobs; a configuration has one value of each that exists in it.
        allowed: the configurations that are allowed; a knob that one of them leaves out does not exist in it.
        where: conditions that all configurations must keep. With `allowed`, these and the knobs' own are not asked.
        most: number of configurations that conditions may leave; None: any.

    Raises:
        ValueError: no knobs, repeated knob names, no allowed configuration, conditions that do not fit the knobs, or so
            many values that combinations cannot be numbered.
        KeyError: an allowed configuration is not a combination of the knobs' values.
    """

    def __init__(
        self,
        knobs: Iterable[Knob],
        allowed: Iterable[Mapping[str, Value]] | None = None,
        *,
        where: Sequence[Condition] = (),
        most: int | None = None,
    ) -> None:
        self.knobs = tuple(knobs)
        names = [knob.name for knob in self.knobs]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"a space needs one or more knobs of different names, got {names}")
        configs = None if allowed is None else list(allowed)
        # One more rank for a knob that may be missing, which says that it is.
        may_lack = [
            knob.when is not None if configs is None else any(knob.name not in config for config in configs)
            for knob in self.knobs
        ]
        self._shape = tuple(len(knob.values) + lacks for knob, lacks in zip(self.knobs, may_lack, strict=True))
        if math.prod(self._shape) > _MOST_CELLS:
            raise ValueError(f"the values of {len(names)} knobs make too many combinations to number; leave some out")
        self._rank = tuple({(type(v), v): i for i, v in enumerate(knob.values)} for knob in self.knobs)
        if configs is not None:
            cells = np.unique(np.array([self._cell(config) for config in configs], dtype=np.int64))
        elif where or any(may_lack):
            rows = allowed_rows(self.knobs, where, most)
            cells = np.sort(np.ravel_multi_index(tuple(rows.T), self._shape))
        else:
            cells = np.arange(math.prod(self._shape))
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
        pairs = zip(self.knobs, map(int, ranks), strict=True)
        return {knob.name: knob.values[rank] for knob, rank in pairs if rank < len(knob.values)}

    def subset(self, positions: np.ndarray) -> Space:
        """The space of the configurations at `positions`, each once, in ascending order of position."""
        out = Space.__new__(Space)
        out.knobs, out._shape, out._rank = self.knobs, self._shape, self._rank
        out._cells = self._cells[np.unique(positions)]
        return out

    def neighbours(self, position: int) -> np.ndarray:
        """Positions of the configurations that differ from this one in one knob only, in ascending order.

        Knobs that exist in only one of the two configurations do not count.
        """
        if self._all_exist:
            return self._of_one_other_rank(position)
        both = self.exists & self.exists[position]
        apart = (both & (self.ranks != self.ranks[position])).sum(axis=1)
        near = np.flatnonzero(apart <= 1)
        return near[near != position]

    def _of_one_other_rank(self, position: int) -> np.ndarray:
        """See `neighbours`; where all knobs exist, only cells in line with this one's are looked at."""
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
        """`[n, knobs]` index of each configuration's value among each knob's values, by position; 0 where missing."""
        out = np.stack(np.unravel_index(self._cells, self._shape), axis=1)
        if not self._all_exist:
            out[out == self._sizes] = 0
        out.setflags(write=False)
        return out

    @cached_property
    def exists(self) -> np.ndarray:
        """`[n, knobs]` whether each knob exists in each configuration, by position."""
        if self._all_exist:
            return np.broadcast_to(np.True_, (len(self), len(self.knobs)))
        out = np.stack(np.unravel_index(self._cells, self._shape), axis=1) < self._sizes
        out.setflags(write=False)
        return out

    @property
    def _sizes(self) -> np.ndarray:
        """`[knobs]` number of each knob's values, which as a rank says that the knob is missing."""
        return np.array([len(knob.values) for knob in self.knobs])

    @property
    def _all_exist(self) -> bool:
        return self._shape == tuple(self._sizes)

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
        may_lack = {knob.name for knob, k in zip(self.knobs, self._shape, strict=True) if k > len(knob.values)}
        if not {knob.name for knob in self.knobs} - may_lack <= config.keys() <= {knob.name for knob in self.knobs}:
            raise KeyError(f"configuration {dict(config)} must name exactly {[k.name for k in self.knobs]}")
        try:
            ranks = [
                rank[type(config[knob.name]), config[knob.name]] if knob.name in config else len(knob.values)
                for knob, rank in zip(self.knobs, self._rank, strict=True)
            ]
        except KeyError as error:
            raise KeyError(
                f"configuration {dict(config)} has a value that its knob does not offer: {error.args[0][1]!r}"
            ) from None
        return int(np.ravel_multi_index(ranks, self._shape))
