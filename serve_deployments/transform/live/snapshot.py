"""The plain state of a model's modules, kept so that it can be brought back to what it was.

A model that has served may have changed: a hook was added, a length cached, a flag set. Whoever takes its structure for
other weights must find it as a fresh load would have made it. What is kept is every attribute of every module, and the
content of the containers and plain objects (such as a configuration) that these refer to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn

COMPILED = "_compiled_call_impl"
"""Where `Module.compile` keeps what it has made, which is worth more than the weights and holds for other ones."""

_PLAIN = (bool, int, float, complex, str, bytes, type(None), type, torch.Tensor, torch.dtype, torch.device)
_DEEPEST = 4  # containers in objects in containers …; our choice


class Snapshot:
    """The state of a model at one time.

    To see that nothing has changed takes a microsecond or two a module, as most of what a module has is empty.

    Args:
        model: the model.
    """

    def __init__(self, model: nn.Module) -> None:
        self._classes = [(module, type(module)) for module in model.modules()]
        seen: dict[int, Any] = {}
        for module, _ in self._classes:
            _keep(vars(module), seen, _DEEPEST)
        self._empty = [value for value in seen.values() if not value]
        self._full = [(value, value.copy(), _ids(value)) for value in seen.values() if value]

    def restore(self) -> int:
        """Brings everything back; returns how many modules, containers and objects had changed."""
        changed = 0
        for module, class_ in self._classes:
            if type(module) is not class_:
                module.__class__ = class_
                changed += 1
        if any(map(len, self._empty)):
            for value in filter(len, self._empty):
                value.clear()
                changed += 1
        return changed + sum(_restored(value, kept) for value, kept, ids in self._full if _ids(value) != ids)


def _ids(value: Any) -> list[Any]:
    """What is in a container, by identity: to compare tensors, or whatever else is in there, may be impossible."""
    if isinstance(value, dict):
        return [*value, *map(id, value.values())]
    return sorted(map(id, value)) if isinstance(value, set) else [*map(id, value)]


def _keep(value: Any, seen: dict[int, Any], depth: int) -> None:
    """Notes a container, and those in it."""
    if id(value) in seen or not isinstance(value, dict | list | set):
        return
    seen[id(value)] = value
    if depth:
        for part in _inside(value):
            _keep(part, seen, depth - 1)


def _inside(value: Any) -> Iterator[Any]:
    """What may change in a container: containers in it, and the attributes of plain objects in it."""
    parts: Iterable[Any] = value.values() if isinstance(value, dict) else value
    for part in parts:
        if isinstance(part, dict | list | set):
            yield part
        elif not isinstance(part, _PLAIN) and not isinstance(part, nn.Module) and not callable(part):
            attributes = getattr(part, "__dict__", None)
            if isinstance(attributes, dict):
                yield attributes


def _restored(value: Any, kept: Any) -> bool:
    """Gives a container its content back; returns whether anything was missing or too much."""
    if isinstance(value, list):
        value[:] = kept
        return True
    if isinstance(value, dict) and value.get(COMPILED) is not None:
        kept = {**kept, COMPILED: value[COMPILED]}
        if _ids(value) == _ids(kept):
            return False
    value.clear()
    value.update(kept)
    return True
