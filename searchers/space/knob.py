"""One tunable setting of a configuration, its values, and what searchers are told of each value."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from searchers.space.condition import Condition
from searchers.space.value import Value

Config = dict[str, Value]
"""A value for every knob of a space that exists in this configuration."""


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
        when: condition on other knobs under which the knob exists; it always does when left out. Where it does not
            exist, a configuration has no value for it.

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
    when: Condition | None = None

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
