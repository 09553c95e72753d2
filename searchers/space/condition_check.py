"""Whether a condition fits the knobs that it is about: their names, and the kinds of their values."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from searchers.space.condition import Condition
from searchers.space.value import Kind, Value, kind_of

Knobs = Mapping[str, Sequence[Value]]
"""Name of a knob → its values."""

_FEW = 6
"""Most values or names in a message. Our choice."""


def check_condition(condition: Condition, knobs: Knobs) -> None:
    """Check that a condition compares like with like, and that it is true or false.

    Raises:
        ValueError: there is no knob of a name in it, it compares a text with a number or calculates with one, or it is
            neither true nor false; the message says what there is, and the remedy.
    """
    for name in sorted(condition.names):
        if name not in knobs:
            raise ValueError(_no_such(name, knobs))
    _needs(condition.body, {"truth value"}, knobs, "a condition is true or false; compare it, as in `… <= 8`")


def _kinds(node: ast.expr, knobs: Knobs) -> frozenset[Kind]:
    """Return the kinds that a node's values have; raises ValueError for parts that do not go together."""
    match node:
        case ast.Name(id=name):
            return frozenset(map(kind_of, knobs[name]))
        case ast.Constant(value=bool() | str() | int() | float() as value):
            return frozenset({kind_of(value)})
        case ast.BinOp(left=left, right=right):
            for operand in (left, right):
                _needs_a_number(operand, knobs, "arithmetic")
            return frozenset({"number"})
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            _needs_a_number(operand, knobs, "arithmetic")
            return frozenset({"number"})
        case ast.UnaryOp(operand=operand):
            _needs(operand, {"truth value"}, knobs, "`not` needs something that is true or false; compare it")
        case ast.BoolOp(values=parts):
            for part in parts:
                _needs(part, {"truth value"}, knobs, "`and` and `or` need what is true or false; compare it")
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            for op, right in zip(ops, comparators, strict=True):
                _check_pair(left, op, right, knobs)
                left = right
    return frozenset({"truth value"})


def _check_pair(left: ast.expr, op: ast.cmpop, right: ast.expr, knobs: Knobs) -> None:
    if isinstance(op, ast.In | ast.NotIn):
        assert isinstance(right, ast.List | ast.Tuple | ast.Set), "refused when it was parsed"
        for element in right.elts:
            _check_alike(left, element, knobs)
    elif isinstance(op, ast.Eq | ast.NotEq):
        _check_alike(left, right, knobs)
    else:
        for operand in (left, right):
            _needs_a_number(operand, knobs, "an order, as of `<`,")


def _check_alike(left: ast.expr, right: ast.expr, knobs: Knobs) -> None:
    if not _kinds(left, knobs) & _kinds(right, knobs):
        raise ValueError(
            f"{_told(left, knobs)} cannot be compared with {_told(right, knobs)}; {_remedy(left, right, knobs)}"
        )


def _remedy(left: ast.expr, right: ast.expr, knobs: Knobs) -> str:
    for constant, other in ((left, right), (right, left)):
        if isinstance(constant, ast.Constant) and "text" in _kinds(other, knobs):
            return f"write {str(constant.value)!r}, a text in quotes, if that is meant"
        if isinstance(constant, ast.Constant) and isinstance(constant.value, str):
            return f"write {constant.value} without quotes, if that is meant"
    return "compare it with what its values are"


def _needs_a_number(node: ast.expr, knobs: Knobs, what: str) -> None:
    if "number" not in _kinds(node, knobs):
        raise ValueError(f"{what} needs numbers, and got {_told(node, knobs)}; texts are compared by == and `in`")


def _needs(node: ast.expr, kinds: set[Kind], knobs: Knobs, why: str) -> None:
    if not _kinds(node, knobs) <= kinds:
        raise ValueError(f"{why}, not {_told(node, knobs)}")


def _told(node: ast.expr, knobs: Knobs) -> str:
    """Return a part of a condition with what it is, for a message."""
    if isinstance(node, ast.Name):
        values = [repr(v) if isinstance(v, str) else str(v).lower() for v in knobs[node.id]]
        return f"{node.id} (one of {_some(values)})"
    (kind,) = _kinds(node, knobs)
    return f"{ast.unparse(node)} (a {kind})"


def _no_such(name: str, knobs: Knobs) -> str:
    near = get_close_matches(name, knobs, n=1)
    meant = f"; did you mean {near[0]}?" if near else ""
    holders = [knob for knob, values in knobs.items() if name in values]
    text = f'; write "{name}" in quotes if it is the value of {holders[0]}' if holders else ""
    return f"there is no knob {name!r}; there are {_some(list(knobs))}{text or meant}"


def _some(words: Sequence[str]) -> str:
    more = len(words) - _FEW
    return ", ".join(words[:_FEW]) + (f" and {more} more" if more > 0 else "")
