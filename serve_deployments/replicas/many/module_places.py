"""The places in which a built model refers to its torch module, so that another module can be put there."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from serve_deployments.transform.graph.graph import NoGraph

_MOST = 1_000_000
"""Number of objects that are looked at. Our choice: a tokenizer has some ten thousand."""

_LEAVES = (str, bytes, int, float, complex, bool, type(None), type, types.ModuleType, torch.dtype, torch.device)

Put = Callable[[Any], object]


class ModulePlaces:
    """Attributes, items and closures of what a builder returned that hold its module.

    Args:
        built: what the builder or loader returned.
        module: the one module in it.

    Raises:
        NoGraph: it refers to the module where nothing can be put, to a part or a tensor of it, or to no module at all:
            then it would go on to compute with what was there before.
    """

    def __init__(self, built: Any, module: nn.Module) -> None:
        self._module: nn.Module | None = module
        self._parts = {id(part) for part in module.modules()}
        self._parts |= {id(tensor) for tensor in (*module.parameters(), *module.buffers())}
        self._puts: list[Put] = []
        self._seen: set[int] = set()
        self._look(built, None)
        if not self._puts:
            raise NoGraph("the model is no object that holds a torch module, so it is built each time")

    def put(self, module: nn.Module) -> None:
        """Has the built model compute with this module."""
        for put in self._puts:
            put(module)

    def forget(self) -> None:
        """Forgets the module that was there, which it needs no more."""
        self._module = None

    def _look(self, root: Any, put: Put | None) -> None:
        left: list[tuple[Any, Put | None]] = [(root, put)]
        while left:
            value, put = left.pop()
            if value is self._module:
                if put is None:
                    raise NoGraph(
                        "the model refers to its module where it cannot be exchanged, so it is built each time"
                    )
                self._puts.append(put)
            elif id(value) in self._parts:
                raise NoGraph("the model refers to a part of its module by itself, so it is built each time")
            elif not isinstance(value, _LEAVES) and id(value) not in self._seen:
                if len(self._seen) >= _MOST:
                    raise NoGraph(f"the model refers to more than {_MOST} objects, so it is built each time")
                self._seen.add(id(value))
                left += _inside(value)


def _inside(value: Any) -> list[tuple[Any, Put | None]]:
    """What an object refers to, each with what puts another in its place; None where nothing can."""
    if isinstance(value, dict):
        return [(each, functools.partial(value.__setitem__, key)) for key, each in list(value.items())]
    if isinstance(value, list):
        return [(each, functools.partial(value.__setitem__, i)) for i, each in enumerate(value)]
    if isinstance(value, tuple | set | frozenset):
        return [(each, None) for each in value]
    if isinstance(value, functools.partial):
        return [(value.func, None), (value.args, None), (value.keywords, None)]
    if isinstance(value, types.MethodType):
        return [(value.__self__, None), (value.__func__, None)]
    if isinstance(value, types.FunctionType):
        cells = [(cell.cell_contents, functools.partial(setattr, cell, "cell_contents")) for cell in _filled(value)]
        return [*cells, (value.__defaults__, None), (value.__kwdefaults__, None), (vars(value), None)]
    if isinstance(value, Mapping):
        return [(each, None) for each in value.values()]
    return [(vars(value), None)] if hasattr(value, "__dict__") else []


def _filled(function: types.FunctionType) -> list[Any]:
    filled = []
    for cell in function.__closure__ or ():
        try:
            _ = cell.cell_contents
        except ValueError:
            continue
        filled.append(cell)
    return filled
