"""A condition on the knobs of a configuration, as a text: `tensor_parallel * pipeline_parallel <= 8`.

It is parsed by Python's grammar, of which few parts are taken, and is never executed as code.
"""

from __future__ import annotations

import ast
import math
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field

_MOST_CHARACTERS = 500
"""Maximum length of a condition. Our choice: longer than anyone needs, as several can be listed, and too short for
nesting that exceeds Python's recursion limit."""

_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow)
_COMPARISONS = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE)
_TRUTH = {"true": True, "false": False}
"""Truth values as YAML spells them; Python's spelling is taken too."""

_OTHER_SPELLINGS = {
    r"&&?": "write `and`", r"\|\|?": "write `or`", r"!(?!=)": "write `not`", r"<>": "write `!=`",
    r"(?<![<>=!])=(?!=)": "write `==` to compare",
}  # fmt: skip
"""Pattern of what other languages write → what is written here."""


@dataclass(frozen=True)
class Condition:
    """What must hold for a configuration, or for a knob to exist in it.

    It has names of knobs, numbers, texts in quotes, `true` and `false`; `+ - * / // % **`; `== != < <= > >=`, also
    chained; `in` and `not in` a list; `and`, `or`, `not`, and parentheses.

    Args:
        text: the condition.

    Raises:
        ValueError: the text is not such a condition, is too long, or names no knob.
    """

    text: str
    names: frozenset[str] = field(init=False, compare=False)
    body: ast.expr = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.text) > _MOST_CHARACTERS:
            raise ValueError(
                f"a condition may have at most {_MOST_CHARACTERS} characters, and this one has {len(self.text)}; "
                "split it where it says `and`, into a list"
            )
        try:
            body = _Truths().visit(_parsed(self.text))
            names = frozenset(_names(body))
        except RecursionError:
            raise ValueError(f"{self.text!r} is nested too deep; split it, or leave out parentheses") from None
        if not names:
            raise ValueError(f"{self.text!r} names no knob, so it would hold for all configurations or for none")
        object.__setattr__(self, "body", body)
        object.__setattr__(self, "names", names)

    def __str__(self) -> str:
        return self.text


class _Truths(ast.NodeTransformer):
    """Reads `true` and `false`, which are names to Python, as truth values."""

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Constant(_TRUTH[node.id]) if node.id in _TRUTH else node


def _parsed(text: str) -> ast.expr:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python warns of odd syntax, which is refused below anyway
            return ast.parse(" ".join(text.splitlines()).strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError) as error:
        why = error.msg if isinstance(error, SyntaxError) else "it cannot be read"
        without_texts = re.sub(r"'[^']*'|\"[^\"]*\"", "", text)
        remedies = [remedy for odd, remedy in _OTHER_SPELLINGS.items() if re.search(odd, without_texts)]
        raise ValueError(f"{text!r} is not a condition: {remedies[0] if remedies else why}") from None


def _names(node: ast.expr) -> Iterator[str]:
    """Yield the names of knobs in a node; raises ValueError for what a condition does not have."""
    match node:
        case ast.Name(id=name):
            yield name
        case ast.Constant(value=bool() | str()):
            pass
        case ast.Constant(value=int() | float() as value) if _is_finite(value):
            pass
        case ast.BinOp(left=left, op=op, right=right) if isinstance(op, _OPERATORS):
            yield from (*_names(left), *_names(right))
        case ast.UnaryOp(op=ast.USub() | ast.Not(), operand=operand):
            yield from _names(operand)
        case ast.BoolOp(values=values):
            yield from (name for value in values for name in _names(value))
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            yield from _names(left)
            for by, other in zip(ops, comparators, strict=True):
                yield from _names_of_right(by, other)
        case _:
            raise ValueError(f"{ast.unparse(node)!r} is not taken; {_remedy(node)}")


def _names_of_right(op: ast.cmpop, right: ast.expr) -> Iterator[str]:
    match op, right:
        case ast.In() | ast.NotIn(), ast.List(elts=elements) | ast.Tuple(elts=elements) | ast.Set(elts=elements):
            yield from (name for element in elements for name in _names(element))
        case ast.In() | ast.NotIn(), _:
            raise ValueError(f"`in` needs a list such as [1, 2, 4] to its right, not {ast.unparse(right)!r}")
        case _ if isinstance(op, _COMPARISONS):
            yield from _names(right)
        case _:
            raise ValueError("`is` is not taken; write `==`, or `!=`")


def _remedy(node: ast.expr) -> str:
    match node:
        case ast.BinOp(op=ast.BitAnd()):
            return "write `and`"
        case ast.BinOp(op=ast.BitOr()):
            return "write `or`"
        case ast.UnaryOp(op=ast.Invert()):
            return "write `not`"
        case ast.Constant(value=None):
            return "no knob has the value None; a knob's texts stand in quotes"
    return (
        "there are names of knobs, numbers, texts in quotes, + - * / // % **, comparisons, `in` a list, and, or, not, "
        "and parentheses"
    )


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False
