"""Finds the torch module in what a builder or loader has made: a function from payloads to results."""

from __future__ import annotations

import functools
import types
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from serve_deployments.transform.graph.graph import NoGraph
from serve_deployments.transform.graph.reading import refuse_without_graph

_DEEPEST = 6
"""Objects in objects that are looked into: a counted function, the model's own, a closure of it, what that holds."""


def module_in(built: Any, what: str = "the model") -> nn.Module:
    """The one model of torch that a built object computes with.

    It is looked for in attributes, in what functions have enclosed or are bound to, and in containers.

    Raises:
        NoGraph: there is none, more than one, or one without a graph; the message says which.
    """
    roots = _outermost({id(module): module for module in _modules(built, set(), _DEEPEST)})
    if not roots:
        raise NoGraph(
            f"{what} holds no torch.nn.Module (a {type(built).__name__}), so its operations are not known; "
            "it is loaded from scratch"
        )
    if len(roots) > 1:
        names = ", ".join(sorted(type(module).__name__ for module in roots))
        raise NoGraph(
            f"{what} holds {len(roots)} models ({names}), of which none is said to be it; it is loaded from scratch"
        )
    refuse_without_graph(roots[0], what)
    return roots[0]


def _outermost(found: Mapping[int, nn.Module]) -> list[nn.Module]:
    """Those that are in no other."""
    inner = {id(part) for module in found.values() for part in module.modules() if part is not module}
    return [module for key, module in found.items() if key not in inner]


def _modules(value: Any, seen: set[int], depth: int) -> Iterator[nn.Module]:
    if id(value) in seen or depth < 0:
        return
    seen.add(id(value))
    if isinstance(value, nn.Module):
        # `torch.compile` wraps a model in a module of its own.
        yield getattr(value, "_orig_mod", value)
        return
    for part in _parts(value):
        yield from _modules(part, seen, depth - 1)


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        yield from value.values()
    elif isinstance(value, list | tuple | set | frozenset):
        yield from value
    elif isinstance(value, functools.partial):
        yield from (value.func, value.args, value.keywords)
    elif isinstance(value, types.MethodType):
        yield from (value.__self__, value.__func__)
    elif isinstance(value, types.FunctionType):
        yield from (cell.cell_contents for cell in value.__closure__ or () if _filled(cell))
        yield vars(value)
    elif hasattr(value, "__dict__") and not isinstance(value, type | types.ModuleType):
        yield vars(value)


def _filled(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False
