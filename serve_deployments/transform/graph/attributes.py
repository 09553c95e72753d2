"""Plain attributes of modules as canonical text: equal text, equal behaviour."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import itertools
import json
import types
import weakref
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

REGISTRIES = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set")
"""Where `torch.nn.Module` keeps its tensors and modules; `graph.Place` and the tree have them."""
HOOKS = (
    "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_state_dict_hooks",
    "_state_dict_pre_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks",
    "_forward_hooks_with_kwargs", "_forward_pre_hooks_with_kwargs", "_forward_hooks_always_called",
)  # fmt: skip
"""Where it keeps hooks (torch 2.13, `torch/nn/modules/module.py`)."""
PROVENANCE = frozenset({"_name_or_path", "name_or_path", "_commit_hash", "transformers_version", "_is_hf_initialized"})
"""Attributes that say where a model comes from, and are read by no forward pass: two siblings that differ in nothing
but their folder have one structure."""

_DEEPEST = 8  # of objects in objects; our choice, far beyond what configurations have
_LONGEST = 200  # characters of an attribute's text, beyond which its hash stands for it: a configuration has thousands

_unlike = itertools.count()


@dataclasses.dataclass(frozen=True)
class Known:
    """What is known of a model while its attributes are described.

    Args:
        paths: id of each module → its first path.
        tensors: id of each parameter and buffer → its first path.
        objects: id of an object that was described → the text; most modules share one configuration.
    """

    paths: Mapping[int, str]
    tensors: Mapping[int, str] = dataclasses.field(default_factory=dict)
    objects: dict[int, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, model: nn.Module) -> Known:
        """What is known of it at first."""
        named = [*model.named_parameters(), *model.named_buffers()]
        return cls(
            {id(module): path for path, module in model.named_modules()}, {id(tensor): name for name, tensor in named}
        )


def canonical_attributes(module: nn.Module, known: Known) -> dict[str, str]:
    """Name → canonical text of each plain attribute of a module, without tensors, modules, hooks and `training`.

    Args:
        module: the module.
        known: of the model that it belongs to.
    """
    skipped = {*REGISTRIES, *HOOKS, *PROVENANCE, "training"}
    return {
        name: _short(json.dumps(canonical(value, known), sort_keys=True))
        for name, value in sorted(vars(module).items())
        if name not in skipped and not isinstance(value, torch.Tensor)
    }


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"sha256:{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def canonical_hooks(module: nn.Module, known: Known) -> list[Any]:
    """The hooks of a module, in order."""
    found = vars(module)
    return [[name, [canonical(hook, known) for hook in found[name].values()]] for name in HOOKS if found.get(name)]


def canonical(value: Any, known: Known, depth: int = 0) -> Any:
    """A value for JSON that is the same for values which behave the same, and in every process.

    What cannot be told, such as an object of an extension module, is unlike anything, itself included.
    """
    if value is None or isinstance(value, bool | int | str):
        return value.value if isinstance(value, enum.Enum) else value
    if isinstance(value, float):
        return ["float", value.hex()]
    if id(value) in known.paths:
        return ["module", known.paths[id(value)]]
    if depth > _DEEPEST:
        return _unlike_anything()
    if isinstance(value, torch.dtype | torch.device | torch.layout | torch.memory_format | complex | bytes | range):
        return [type(value).__name__, str(value)]
    if isinstance(value, weakref.ref):  # recurrent layers refer to their weights
        return ["ref", canonical(value(), known, depth + 1)]
    if isinstance(value, torch.Tensor):
        path = known.tensors.get(id(value))
        return _unlike_anything() if path is None else ["tensor", path]
    if isinstance(value, Mapping):
        pairs = [(str(name), canonical(each, known, depth + 1)) for name, each in value.items()]
        return [type(value).__name__, [list(pair) for pair in pairs if pair[0] not in PROVENANCE]]
    if isinstance(value, list | tuple):
        return [type(value).__name__, [canonical(each, known, depth + 1) for each in value]]
    if isinstance(value, set | frozenset):
        return [type(value).__name__, sorted(json.dumps(canonical(each, known, depth + 1)) for each in value)]
    if isinstance(value, type | types.FunctionType | types.BuiltinFunctionType | types.MethodType):
        return _code(value, known, depth)
    if id(value) not in known.objects:
        known.objects[id(value)] = _object(value, known, depth)
    return known.objects[id(value)]


def _code(value: Any, known: Known, depth: int) -> Any:
    """A class or function by its name; a function also by its code and what it has enclosed."""
    name = f"{value.__module__}.{value.__qualname__}" if getattr(value, "__module__", None) else value.__qualname__
    if isinstance(value, types.MethodType):
        return ["method", name, canonical(value.__self__, known, depth + 1)]
    if not isinstance(value, types.FunctionType):
        return ["code", name]
    enclosed = [_cell(cell) for cell in value.__closure__ or ()]
    given = [value.__defaults__, value.__kwdefaults__, enclosed]
    digest = hashlib.sha256(value.__code__.co_code).hexdigest()[:16]
    return ["function", name, digest, canonical(given, known, depth + 1)]


def _cell(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _object(value: Any, known: Known, depth: int) -> Any:
    """An object by its class and what is in it."""
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, nn.Module):
        return _unlike_anything()  # not in the tree
    if callable(getattr(value, "to_dict", None)) and not isinstance(value, type):  # configurations of transformers
        return ["object", name, canonical(value.to_dict(), known, depth + 1)]
    if isinstance(value, enum.Enum):
        return ["enum", name, value.name]
    if dataclasses.is_dataclass(value):
        fields = {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
        return ["object", name, canonical(fields, known, depth + 1)]
    if hasattr(value, "__dict__"):
        return ["object", name, canonical(vars(value), known, depth + 1)]
    return _unlike_anything()


def _unlike_anything() -> Any:
    return ["unknown", next(_unlike)]
