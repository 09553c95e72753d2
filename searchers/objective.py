"""Objective and limits of a search; only this module turns a quantity to minimise into one to maximise.

An objective is an arithmetic expression over a trial's metrics and its price, such as
`rps / usd_per_hour`, with limits that a configuration must keep to be feasible.
"""

from __future__ import annotations

import ast
import math
import operator
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from searchers.quantities import PRICE

_MOST_CHARACTERS = 200
"""Maximum length of an expression. Our choice: much longer than anyone needs, and too short for nesting that exceeds
Python's recursion limit."""

Metrics = Mapping[str, float]
"""Measured values of a trial by name: `rps`, `p99_ms`, `error_rate`, …"""

_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.Pow: operator.pow, ast.USub: operator.neg,
}  # fmt: skip


@dataclass(frozen=True)
class Expression:
    """Arithmetic expression over named quantities: + - * / ** and parentheses, nothing that could execute code.

    Raises:
        ValueError: the text is not such an expression, is too long, or names no quantity.
    """

    text: str
    names: frozenset[str] = field(init=False, compare=False)
    body: ast.expr = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.text) > _MOST_CHARACTERS:
            raise ValueError(
                f"an expression may have at most {_MOST_CHARACTERS} characters; this one has {len(self.text)}"
            )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Python warns of odd syntax, which is refused below anyway
                body = ast.parse(" ".join(self.text.split()), mode="eval").body
        except (SyntaxError, ValueError, MemoryError) as error:
            why = error.msg if isinstance(error, SyntaxError) else "it cannot be read"
            raise ValueError(f"{self.text!r} is not an arithmetic expression: {why}") from None
        object.__setattr__(self, "body", body)
        object.__setattr__(self, "names", frozenset(_names(body, self.text)))
        if not self.names:
            raise ValueError(f"{self.text!r} names no metric, so all configurations would have the same value")

    def __call__(self, quantities: Metrics) -> float:
        """The expression's value; NaN where undefined (a division by zero). KeyError if a quantity is missing."""
        value = float(self.over({name: np.float64(quantities[name]) for name in self.names}))
        return value if math.isfinite(value) else math.nan

    def over(self, quantities: Mapping[str, np.ndarray | np.float64]) -> np.ndarray:
        """The expression's value for each element of arrays that broadcast against one another."""
        with np.errstate(all="ignore"):  # a division by zero gives NaN or infinity, which callers check for
            return np.asarray(_evaluate(self.body, quantities))


def _names(node: ast.AST, text: str) -> set[str]:
    match node:
        case ast.Name(id=name):
            return {name}
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool) and math.isfinite(value):
            return set()
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _names(left, text) | _names(right, text)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _names(operand, text)
    raise ValueError(f"{text!r}: only + - * / ** of metrics and numbers are allowed, not {ast.unparse(node)!r}")


def _evaluate(node: ast.AST, quantities: Mapping[str, np.ndarray | np.float64]) -> Any:
    match node:
        case ast.Name(id=name):
            return quantities[name]
        case ast.Constant(value=int() | float() as value):
            return np.float64(value)  # As int, 9**9**9 would be computed to its last digit.
        case ast.BinOp(left=left, op=op, right=right):
            return _OPERATORS[type(op)](_evaluate(left, quantities), _evaluate(right, quantities))
        case ast.UnaryOp(operand=operand):
            return -_evaluate(operand, quantities)
    raise AssertionError("refused when built")


@dataclass(frozen=True)
class Objective:
    """The goal and the limits by which configurations are compared.

    Args:
        goal: the quantity to optimise as an expression of metrics and `usd_per_hour`, e.g. `rps / usd_per_hour`.
        minimize: whether smaller is better. Searchers still maximise, as they see the reciprocal.
        at_most: metric → the largest allowed value (`{"p99_ms": 100}`).
        at_least: metric → the smallest allowed value (`{"rps": 50}`).
    """

    goal: Expression
    minimize: bool = False
    at_most: Mapping[str, float] = field(default_factory=dict)
    at_least: Mapping[str, float] = field(default_factory=dict)

    @property
    def limited(self) -> tuple[str, ...]:
        """Names of the metrics that have a limit."""
        return tuple(dict.fromkeys((*self.at_most, *self.at_least)))

    def broken(self, metrics: Metrics) -> tuple[str, ...]:
        """Names of the metrics whose limits are broken; a metric that was not measured breaks its limits."""
        # NaN, not an infinity: a limit may be infinite itself, and an unmeasured metric must break even that one.
        too_high = [m for m, limit in self.at_most.items() if not metrics.get(m, math.nan) <= limit]
        too_low = [m for m, limit in self.at_least.items() if not metrics.get(m, math.nan) >= limit]
        return (*too_high, *too_low)

    def figure(self, metrics: Metrics, usd_per_hour: float = math.nan) -> float:
        """The goal's value in its own unit, regardless of limits; NaN where undefined or not measured."""
        quantities = {**metrics, PRICE: usd_per_hour}
        return self.goal(quantities) if self.goal.names <= quantities.keys() else math.nan

    def value(self, metrics: Metrics | None, usd_per_hour: float = math.nan) -> float | None:
        """The value that searchers maximise, a positive number; None if the configuration is infeasible.

        A quantity to minimise becomes its reciprocal: every quantity here (a rate, a latency, a price) is
        positive, and a searcher that works with ratios or logarithms then needs no second case.
        A configuration is infeasible if it could not run (`metrics` is None), breaks a limit, or has no positive
        finite value.
        """
        if metrics is None or self.broken({**metrics, PRICE: usd_per_hour}):
            return None
        figure = self.figure(metrics, usd_per_hour)
        if not figure > 0:
            return None
        value = 1 / figure if self.minimize else figure
        return value if math.isfinite(value) else None  # the reciprocal of a tiny number is infinite

    def values(self, metrics: Mapping[str, np.ndarray], usd_per_hour: np.ndarray) -> np.ndarray:
        """`value` of many configurations at once, from arrays that broadcast; 0 for infeasible ones.

        NaN stands for a value that was not measured. KeyError if a quantity that is needed has no array.
        """
        quantities = {**metrics, PRICE: usd_per_hour}
        figures = self.goal.over(quantities)
        with np.errstate(all="ignore"):
            values = 1 / figures if self.minimize else figures
            counts = np.isfinite(figures) & np.isfinite(values) & (figures > 0)
            for name, limit in self.at_most.items():
                counts = counts & (quantities[name] <= limit)
            for name, limit in self.at_least.items():
                counts = counts & (quantities[name] >= limit)
        return np.where(counts, values, 0.0)
