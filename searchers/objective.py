"""What is maximised, under which limits: the one place where signs flip.

An objective is an arithmetic expression over a trial's metrics and its price, such as
`rps / usd_per_hour`, with limits that a configuration must keep to count at all.
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
"""Our choice: many times what anyone writes, and too few to nest deeper than Python can follow."""

Metrics = Mapping[str, float]
"""What a trial measured: `rps`, `p99_ms`, `error_rate`, …"""

_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.Pow: operator.pow, ast.USub: operator.neg,
}  # fmt: skip


@dataclass(frozen=True)
class Expression:
    """Arithmetic over named quantities: + - * / ** and parentheses, nothing that could execute code.

    Raises:
        ValueError: the text is not such an expression, or names nothing.
    """

    text: str
    names: frozenset[str] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.text) > _MOST_CHARACTERS:
            raise ValueError(f"an expression may have {_MOST_CHARACTERS} characters, this one has {len(self.text)}")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what is odd as Python, which is refused here anyway
                body = ast.parse(self.text, mode="eval").body
        except (SyntaxError, ValueError, MemoryError) as error:
            why = error.msg if isinstance(error, SyntaxError) else "it cannot be read"
            raise ValueError(f"{self.text!r} is not an arithmetic expression: {why}") from None
        object.__setattr__(self, "_body", body)
        object.__setattr__(self, "names", frozenset(_names(body, self.text)))
        if not self.names:
            raise ValueError(f"{self.text!r} names no metric, so every configuration would be as good")

    def __call__(self, quantities: Metrics) -> float:
        """The value; NaN where it is undefined (a division by zero). KeyError if a quantity is missing."""
        value = float(self.over({name: np.float64(quantities[name]) for name in self.names}))
        return value if math.isfinite(value) else math.nan

    def over(self, quantities: Mapping[str, np.ndarray | np.float64]) -> np.ndarray:
        """The value of each element of arrays that broadcast against one another."""
        with np.errstate(all="ignore"):  # a division by zero is NaN or infinite, and says so itself
            return np.asarray(_evaluate(self._body, quantities))  # type: ignore[attr-defined]


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
    """What makes one configuration better than another.

    Args:
        goal: the quantity of interest, e.g. `rps / usd_per_hour`, over metrics and `usd_per_hour`.
        minimize: less of it is better. Searchers still see larger as better: the reciprocal.
        at_most: metric → the largest value that counts (`{"p99_ms": 100}`).
        at_least: metric → the smallest value that counts (`{"rps": 50}`).
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
        """Names of the limits that are not kept; a metric that was not measured keeps none."""
        # NaN, not an infinity: a limit may be infinite itself, and what was not measured keeps not even that one.
        too_high = [m for m, limit in self.at_most.items() if not metrics.get(m, math.nan) <= limit]
        too_low = [m for m, limit in self.at_least.items() if not metrics.get(m, math.nan) >= limit]
        return (*too_high, *too_low)

    def figure(self, metrics: Metrics, usd_per_hour: float = math.nan) -> float:
        """The goal's value in its own unit, whatever the limits; NaN where undefined or not measured."""
        quantities = {**metrics, PRICE: usd_per_hour}
        return self.goal(quantities) if self.goal.names <= quantities.keys() else math.nan

    def value(self, metrics: Metrics | None, usd_per_hour: float = math.nan) -> float | None:
        """What searchers maximise, a positive number; None if the configuration does not count.

        A quantity to minimise becomes its reciprocal: every quantity here (a rate, a latency, a price) is
        positive, and a searcher that thinks in ratios or logarithms then needs no second case.
        It does not count if it could not run (`metrics` None), breaks a limit, or has no finite value.
        """
        if metrics is None or self.broken({**metrics, PRICE: usd_per_hour}):
            return None
        figure = self.figure(metrics, usd_per_hour)
        if not figure > 0:
            return None
        value = 1 / figure if self.minimize else figure
        return value if math.isfinite(value) else None  # the reciprocal of next to nothing is not

    def values(self, metrics: Mapping[str, np.ndarray], usd_per_hour: np.ndarray) -> np.ndarray:
        """`value` of many at once: arrays that broadcast against one another; 0 for what does not count.

        NaN stands for what was not measured. KeyError if there is no array of a quantity that is asked for.
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
