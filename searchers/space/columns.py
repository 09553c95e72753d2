"""Evaluation of a condition for many configurations at once.

Notation:
    m   configurations
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from searchers.space.condition import Condition
from searchers.space.value import Value

_ROUNDING = 1e-12
"""Relative difference up to which two numbers are equal, so that 0.1 + 0.2 <= 0.3. Our choice: some thousand times the
rounding of one operation."""

_FALSE, _TRUE, _NONE = 0, 1, -1
"""Codes of the truth values, and of what is no text and no truth value. Texts have codes from 2 on."""
_NO_NUMBER, _NO_CODE = np.asarray(np.nan), np.asarray(_NONE)
"""What a column has for all configurations where none of its values is a number, or where all are."""

_OPERATORS: dict[type[ast.operator], Callable[..., Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow,
}  # fmt: skip

Codes = dict[str, int]
"""Text → its code, given in the order in which texts are met."""


@dataclass(frozen=True)
class Column:
    """One value for each configuration; where a number is NaN and a code is -1, there is none.

    Args:
        numbers: `[m]` the values that are numbers; NaN for others.
        codes: `[m]` codes of the values that are texts or truth values; -1 for others.
    """

    numbers: np.ndarray
    codes: np.ndarray

    @property
    def true(self) -> np.ndarray:
        """`[m]` whether the value is known to be true."""
        return np.asarray(self.codes == _TRUE)

    @property
    def false(self) -> np.ndarray:
        """`[m]` whether the value is known to be false."""
        return np.asarray(self.codes == _FALSE)

    @property
    def known(self) -> np.ndarray:
        """`[m]` whether there is a value."""
        return np.asarray((self.codes != _NONE) | np.isfinite(self.numbers))


def column_of(values: Sequence[Value], ranks: np.ndarray, codes: Codes) -> Column:
    """Return a knob's column.

    Args:
        values: the knob's v values.
        ranks: `[m]` index of each configuration's value; v where the knob does not exist.
        codes: codes of texts so far; those of the knob's are added.
    """
    table = [_constant(value, codes) for value in values]
    numbers = np.array([*(float(one.numbers) for one in table), np.nan])
    coded = np.array([*(int(one.codes) for one in table), _NONE])
    # Most knobs have values of one kind: one number in place of m saves half of the time.
    return Column(
        _NO_NUMBER if np.isnan(numbers).all() else numbers[ranks], _NO_CODE if (coded == _NONE).all() else coded[ranks]
    )


def evaluate(condition: Condition, columns: Mapping[str, Column], codes: Codes) -> Column:
    """Return whether a condition holds, for each configuration; there is no value where that is not known.

    What is calculated from or compared with a missing value is missing. `and` is false if any part is, and `or` is true
    if any part is, whatever the others are (Kleene's three-valued logic).

    Args:
        condition: a condition that `check_condition` takes.
        columns: name of each knob in it → its `[m]` values.
        codes: codes of texts, by which the columns were made.
    """
    with np.errstate(all="ignore"):  # a division by zero gives NaN or infinity, which is no value
        return _value(condition.body, columns, codes)


def _value(node: ast.expr, columns: Mapping[str, Column], codes: Codes) -> Column:
    match node:
        case ast.Name(id=name):
            return columns[name]
        case ast.Constant(value=bool() | str() | int() | float() as value):
            return _constant(value, codes)
        case ast.BinOp(left=left, op=op, right=right):
            return _calculated(op, _value(left, columns, codes).numbers, _value(right, columns, codes).numbers)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return Column(-_value(operand, columns, codes).numbers, _NO_CODE)
        case ast.UnaryOp(operand=operand):
            return _not(_value(operand, columns, codes))
        case ast.BoolOp(op=op, values=parts):
            every = [_value(part, columns, codes) for part in parts]
            return _and(every) if isinstance(op, ast.And) else _or(every)
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            pairs = zip((left, *comparators), ops, comparators, strict=False)
            return _and([_compared(first, by, second, columns, codes) for first, by, second in pairs])
    raise AssertionError("refused when it was parsed")


def _compared(left: ast.expr, op: ast.cmpop, right: ast.expr, columns: Mapping[str, Column], codes: Codes) -> Column:
    one = _value(left, columns, codes)
    if isinstance(op, ast.In | ast.NotIn):
        assert isinstance(right, ast.List | ast.Tuple | ast.Set), "refused when it was parsed"
        found = _or([_equal(one, _value(element, columns, codes)) for element in right.elts])
        return _not(found) if isinstance(op, ast.NotIn) else found
    other = _value(right, columns, codes)
    match op:
        case ast.Eq():
            return _equal(one, other)
        case ast.NotEq():
            return _not(_equal(one, other))
        case ast.Lt():
            return _less(one, other)
        case ast.Gt():
            return _less(other, one)
        case ast.LtE():
            return _not(_less(other, one))
    return _not(_less(one, other))


def _equal(one: Column, other: Column) -> Column:
    same = (one.codes == other.codes) & ((one.codes != _NONE) | _close(one.numbers, other.numbers))
    return _truth(same, ~same & one.known & other.known)


def _less(one: Column, other: Column) -> Column:
    known = np.isfinite(one.numbers) & np.isfinite(other.numbers)
    less = (one.numbers < other.numbers) & ~_close(one.numbers, other.numbers)
    return _truth(known & less, known & ~less)


def _close(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray(np.abs(a - b) <= _ROUNDING * np.maximum(np.abs(a), np.abs(b)))


def _and(parts: Sequence[Column]) -> Column:
    return _truth(_all([part.true for part in parts]), _any([part.false for part in parts]))


def _or(parts: Sequence[Column]) -> Column:
    return _truth(_any([part.true for part in parts]), _all([part.false for part in parts]))


def _all(masks: Sequence[np.ndarray]) -> np.ndarray:
    return reduce(np.logical_and, masks, np.asarray(True))


def _any(masks: Sequence[np.ndarray]) -> np.ndarray:
    return reduce(np.logical_or, masks, np.asarray(False))


def _not(of: Column) -> Column:
    return _truth(of.false, of.true)


def _truth(true: np.ndarray, false: np.ndarray) -> Column:
    codes = np.where(true, _TRUE, np.where(false, _FALSE, _NONE))
    return Column(_NO_NUMBER, codes.astype(np.int8))


def _calculated(op: ast.operator, left: np.ndarray, right: np.ndarray) -> Column:
    numbers = np.asarray(_OPERATORS[type(op)](left, right))
    if not isinstance(op, ast.Add | ast.Sub | ast.Mult):
        # Numpy's NaN ** 0 is 1, and 1 / infinity is 0: what has no value must not get one again.
        numbers = np.where(np.isfinite(left) & np.isfinite(right) & np.isfinite(numbers), numbers, np.nan)
    return Column(numbers, _NO_CODE)


def _constant(value: Value, codes: Codes) -> Column:
    if isinstance(value, bool):
        return Column(_NO_NUMBER, np.asarray(_TRUE if value else _FALSE))
    if isinstance(value, str):
        return Column(_NO_NUMBER, np.asarray(codes.setdefault(value, _TRUE + 1 + len(codes))))
    return Column(np.asarray(float(value)), _NO_CODE)
