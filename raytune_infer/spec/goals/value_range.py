"""Range of an expression's value, by interval arithmetic (Moore, Interval Analysis, 1966, chapter 3).

The range contains every value that the expression takes while its quantities are in theirs. It may be wider, as a
quantity that occurs twice counts as two: `rps - rps` may be anything as far as this can tell.
"""

from __future__ import annotations

import ast
import itertools
import math
from collections.abc import Callable, Mapping

Range = tuple[float, float]
"""Lowest and highest value; either may be infinite."""

ANYTHING: Range = (-math.inf, math.inf)


def value_range(node: ast.AST, ranges: Mapping[str, Range]) -> Range:
    """Return the range of the value of an `Expression`'s syntax tree.

    Args:
        node: the tree.
        ranges: the range of each quantity that it names.
    """
    match node:
        case ast.Name(id=name):
            return ranges[name]
        case ast.Constant(value=int() | float() as value):
            return float(value), float(value)
        case ast.UnaryOp(operand=operand):
            low, high = value_range(operand, ranges)
            return -high, -low
        case ast.BinOp(left=left, op=op, right=right):
            return _OF[type(op)](value_range(left, ranges), value_range(right, ranges))
    raise AssertionError("an Expression has no other nodes")


def _sum(a: Range, b: Range) -> Range:
    return a[0] + b[0], a[1] + b[1]


def _difference(a: Range, b: Range) -> Range:
    return a[0] - b[1], a[1] - b[0]


def _product(a: Range, b: Range) -> Range:
    ends = [x * y if x and y else 0.0 for x, y in itertools.product(a, b)]  # 0 times infinity is 0: a limit is not met
    return min(ends), max(ends)


def _quotient(a: Range, b: Range) -> Range:
    if b[0] < 0 < b[1]:
        return ANYTHING
    low = -math.inf if b[1] == 0 else 1 / b[1]
    high = math.inf if b[0] == 0 else 1 / b[0]
    return _product(a, (low, high))


def _power(a: Range, b: Range) -> Range:
    if a[0] < 0:  # defined for whole exponents only, and of either sign for odd ones
        return (0.0, math.inf) if b[0] == b[1] and b[0] % 2 == 0 else ANYTHING
    ends = [_raised(x, y) for x, y in itertools.product(a, b)]
    return min(ends), max(ends)


def _raised(base: float, exponent: float) -> float:
    try:
        return math.pow(base, exponent)
    except (OverflowError, ValueError):  # ValueError: 0 to a negative power
        return math.inf


_OF: dict[type[ast.operator], Callable[[Range, Range], Range]] = {
    ast.Add: _sum, ast.Sub: _difference, ast.Mult: _product, ast.Div: _quotient, ast.Pow: _power,
}  # fmt: skip
