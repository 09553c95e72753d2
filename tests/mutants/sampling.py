"""Faults drawn at random: mutmut's operators and two of our own, each kind as often as every other.

Arguments that are dropped would otherwise be most of what is drawn, and nearly all of those end in a TypeError that any
test notices. Texts are left alone, as are annotations and decorators: they are words, or do nothing when code runs.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import libcst as cst
import libcst.matchers as m
from mutmut.mutation import mutators

from tests.mutants.areas import ROOT
from tests.mutants.fault import Fault, changed

Operator = Callable[[Any], Iterable[cst.CSTNode]]

OPPOSITE_CALLS = {"min": "max", "max": "min", "any": "all", "all": "any", "minimum": "maximum", "maximum": "minimum",
                  "argmin": "argmax", "argmax": "argmin", "ceil": "floor", "floor": "ceil"}  # fmt: skip


def opposite_call(node: cst.Call) -> Iterator[cst.Call]:
    """`min` for `max`, `any` for `all`, in numpy too."""
    name = node.func.attr if isinstance(node.func, cst.Attribute) else node.func
    if isinstance(name, cst.Name) and name.value in OPPOSITE_CALLS:
        yield node.with_deep_changes(name, value=OPPOSITE_CALLS[name.value])


def forced_condition(node: cst.If) -> Iterator[cst.If]:
    """An `if` that always does, or never does."""
    for value in ("True", "False"):
        yield node.with_changes(test=cst.Name(value))


# kind: (type of node, operator)
KINDS: dict[str, Sequence[tuple[Any, Operator]]] = {
    "number": [(cst.BaseNumber, mutators.operator_number)],
    "operator": [(cst.CSTNode, mutators.operator_swap_op)],
    "condition": [(cst.If, forced_condition), (cst.IfExp, mutators.operator_if_exp)],
    "keyword": [
        (cst.CSTNode, mutators.operator_keywords),
        (cst.UnaryOperation, mutators.operator_remove_unary_ops),
        (cst.Name, mutators.operator_name),
    ],
    "call": [(cst.Call, opposite_call), (cst.Call, mutators.operator_symmetric_string_methods_swap)],
    "argument": [(cst.Call, mutators.operator_arg_removal), (cst.Call, mutators.operator_dict_arguments)],
    "assignment": [
        (cst.Assign, mutators.operator_assignment),
        (cst.AnnAssign, mutators.operator_assignment),
        (cst.AugAssign, mutators.operator_augmented_assignment),
    ],
}


class Places(cst.CSTVisitor):
    """Where a file can be changed, and into what, by kind."""

    def __init__(self) -> None:
        self.found: dict[str, list[tuple[cst.CSTNode, cst.CSTNode]]] = {kind: [] for kind in KINDS}

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, (cst.Annotation, cst.Decorator, cst.Import, cst.ImportFrom, cst.SimpleString)):
            return False
        if m.matches(node, m.If(test=m.Name("TYPE_CHECKING"))):
            return False
        for kind, operators in KINDS.items():
            for node_type, operator in operators:
                if isinstance(node, node_type):
                    self.found[kind] += [(node, other) for other in operator(node)]
        return True


def places(source: str) -> tuple[cst.Module, dict[str, list[tuple[cst.CSTNode, cst.CSTNode]]]]:
    """A parsed file, and what can be changed in it, by kind."""
    module = cst.parse_module(source)
    visitor = Places()
    module.visit(visitor)
    return module, visitor.found


def sample(paths: Iterable[str], seed: int, root: Path = ROOT) -> Iterator[Fault]:
    """Faults without end but for that of what can be changed; the same for the same files and seed.

    Kinds take turns; within a kind every place of every file is as likely.
    """
    rng = random.Random(seed)
    modules: dict[str, cst.Module] = {}
    waiting: dict[str, list[tuple[str, cst.CSTNode, cst.CSTNode]]] = {kind: [] for kind in KINDS}
    for path in paths:
        modules[path], found = places((root / path).read_text(encoding="utf-8"))
        for kind, pairs in found.items():
            waiting[kind] += [(path, node, other) for node, other in pairs]
    for pairs_of_kind in waiting.values():
        rng.shuffle(pairs_of_kind)
    while any(waiting.values()):
        for kind, left in waiting.items():
            if left:
                path, node, other = left.pop()
                source = modules[path].deep_replace(node, other)
                assert isinstance(source, cst.Module)
                if compiles(source.code) and source.code != modules[path].code:
                    yield changed(root, path, kind, source.code)


def compiles(source: str) -> bool:
    """Whether Python reads it: `break` can become a `return` outside a function."""
    try:
        compile(source, "<fault>", "exec")
    except SyntaxError:
        return False
    return True
