"""The modules of a model without memory for its tensors: built once, and pointed at bytes as often as needed."""

from __future__ import annotations

import json
import math
import time
import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from serve_deployments.models.context import ModelError
from serve_deployments.transform.graph.attributes import HOOKS, PROVENANCE, REGISTRIES
from serve_deployments.transform.graph.graph import Graph, Place, TensorSpec
from serve_deployments.transform.graph.reading import described_modules, type_of
from serve_deployments.transform.graph.tensors import held_tensors
from serve_deployments.transform.live.snapshot import Snapshot
from serve_deployments.transform.registered.registered_model import Mark, Recipe


class OtherStructure(ModelError):
    """A recipe's structure is not that of the model that was registered."""


class Structure:
    """Modules, and for each tensor of the model an object that can be pointed at any bytes.

    The same tensor objects stay for as long as the structure lives, so that whatever refers to them (tied weights, the
    flat weights of recurrent layers, compiled code) needs no change.

    Args:
        module: the model, whose tensors are replaced by empty ones.
        graph: what it should be.
        device: where its tensors will lie.
        marks: attributes to set.

    Raises:
        OtherStructure: modules or tensors are not those of the graph.
    """

    def __init__(self, module: nn.Module, graph: Graph, device: str = "cpu", marks: Sequence[Mark] = ()) -> None:
        self.module, self.graph, self.device = module, graph, device
        modules = dict(module.named_modules())
        _check_modules(modules, graph)
        self.slots = [_slot(modules, spec, device) for spec in graph.tensors]
        for slot, spec in zip(self.slots, graph.tensors, strict=True):
            for place in spec.places:
                _put(modules[place.module], place, slot)
        for path, each in modules.items():
            each.training = path in graph.training
            if isinstance(each, nn.RNNBase):  # it tells by these whether a weight was replaced
                each._flat_weight_refs = [None if w is None else weakref.ref(w) for w in each._flat_weights]
        for mark in marks:
            modules[mark.module].__dict__[mark.name] = json.loads(mark.value)
        self._snapshot = Snapshot(module)
        self._inside: list[list[int]] = [[] for _ in graph.blobs]
        for i, spec in enumerate(graph.tensors):
            self._inside[spec.blob].append(i)
        self._dtypes = [slot.dtype for slot in self.slots]
        self._seals: list[tuple[int, int]] = []

    def restore(self) -> int:
        """Brings all but the tensors' content back to a fresh load's; returns how much had changed."""
        changed = self._snapshot.restore()
        for slot, spec in zip(self.slots, self.graph.tensors, strict=True):
            if slot.requires_grad != spec.requires_grad:
                slot.requires_grad_(spec.requires_grad)
                changed += 1
            if slot.grad is not None:
                slot.grad = None
            if slot._backward_hooks:
                slot._backward_hooks = None
        return changed

    def point(self, blob: int, storage: torch.UntypedStorage) -> None:
        """Points the tensors of one piece of memory at bytes, which begin where the storage does."""
        for i in self._inside[blob]:
            spec, dtype = self.graph.tensors[i], self._dtypes[i]
            at = spec.offset_bytes // dtype.itemsize
            self.slots[i].data = torch.empty(0, dtype=dtype, device=storage.device).set_(
                storage, at, spec.shape, spec.stride
            )

    def seal(self) -> None:
        """Notes that all tensors have the content that they should, so that `intact` can tell later."""
        self._seals = [(slot.data_ptr(), slot._version) for slot in self.slots]

    def intact(self, blob: int) -> bool:
        """Whether a piece of memory still has the content that it was given.

        Torch counts what is written to a tensor. Writing through `.data`, a NumPy view or an address goes uncounted.
        """
        return bool(self._seals) and all(
            (self.slots[i].data_ptr(), self.slots[i]._version) == self._seals[i] for i in self._inside[blob]
        )

    def storage(self, blob: int) -> torch.UntypedStorage:
        """The memory that a piece's tensors lie in, which begins where the piece does."""
        return self.slots[self._inside[blob][0]].untyped_storage()

    def park(self) -> None:
        """Lets go of all memory; the structure can be pointed at bytes again."""
        self._seals = []
        for slot in self.slots:
            slot.grad = None
            slot.data = torch.empty(0, dtype=slot.dtype, device=slot.device)


def structure_of(
    recipe: Recipe, graph: Graph, device: str = "cpu", marks: Sequence[Mark] = ()
) -> tuple[Structure, float]:
    """Builds a structure, and says how many seconds its modules took; see `Structure`.

    Raises:
        OtherStructure: it is not that of the graph.
    """
    begun = time.perf_counter()
    module = without_memory(recipe)
    took = time.perf_counter() - begun
    return Structure(module, graph, device, marks), took


def without_memory(recipe: Recipe) -> nn.Module:
    """The modules of a recipe, with tensors on torch's meta device where its code runs there."""
    make = recipe.structure or recipe.build
    # What a constructor draws must not shift the random numbers of whoever converts.
    with torch.random.fork_rng(devices=()):
        try:
            with torch.device("meta"):
                return make()
        except Exception:  # code that looks at a tensor's content, or reads it from a file onto a device
            return make()


def _check_modules(modules: dict[str, nn.Module], graph: Graph) -> None:
    for operation in graph.operations:
        found = modules.get(operation.path)
        there = "nothing" if found is None else type_of(found)
        if there != operation.type:
            raise OtherStructure(
                f"the recipe's structure has {there} at {operation.path or 'its root'}, and the registered model "
                f"{operation.type}; register the model again with the code as it is"
            )


def _slot(modules: dict[str, nn.Module], spec: TensorSpec, device: str) -> torch.Tensor:
    """An empty tensor of the right class, with what its first place has beside the content."""
    old = _old(modules, spec.places[0])
    dtype: torch.dtype = getattr(torch, spec.dtype)
    if old is None or tuple(old.shape) != spec.shape:
        found = "nothing" if old is None else f"sizes {tuple(old.shape)}"
        raise OtherStructure(
            f"the recipe's structure has {found} at {spec.places[0].path}, and the registered model {spec.shape}; "
            "register the model again with the code as it is"
        )
    empty = torch.empty(0, dtype=dtype, device=device)
    slot = nn.Parameter(empty, spec.requires_grad) if isinstance(old, nn.Parameter) else empty
    if slot is empty and spec.requires_grad:
        slot.requires_grad_()
    vars(slot).update(vars(old))
    return slot


def _old(modules: dict[str, nn.Module], place: Place) -> torch.Tensor | None:
    module = modules.get(place.module)
    if module is None:
        return None
    of_kind: dict[str, Any] = {
        "parameter": module._parameters, "buffer": module._buffers, "attribute": vars(module),
    }  # fmt: skip
    found = of_kind[place.kind].get(place.name)
    return found if isinstance(found, torch.Tensor) else None


def _put(module: nn.Module, place: Place, slot: torch.Tensor) -> None:
    if type(module).__setattr__ is not nn.Module.__setattr__:  # recurrent layers note their weights in a list too
        setattr(module, place.name, slot)
    elif place.kind == "parameter":
        module._parameters[place.name] = slot  # type: ignore[assignment]
    elif place.kind == "buffer":
        module._buffers[place.name] = slot
    else:
        vars(module)[place.name] = slot


def marks_of(structure: Structure, model: nn.Module) -> tuple[Mark, ...]:
    """Plain attributes in which a structure differs from a model: loading leaves such marks on some."""
    theirs = dict(model.named_modules())
    return tuple(
        Mark(path, name, json.dumps(value))
        for path, module in structure.module.named_modules()
        if path in theirs
        for name, value in vars(theirs[path]).items()
        if name not in (*REGISTRIES, *HOOKS, *PROVENANCE, "training") and _is_json(value)
        if name not in vars(module) or not _is_json(vars(module)[name]) or _json(vars(module)[name]) != _json(value)
    )


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _is_json(value: Any) -> bool:
    """Whether a value is the same when it is read from JSON, as tuples, sets and objects are not."""
    if isinstance(value, list):
        return type(value) is list and all(map(_is_json, value))
    if isinstance(value, dict):
        return type(value) is dict and all(type(name) is str and _is_json(each) for name, each in value.items())
    return type(value) in (bool, int, str, type(None)) or (type(value) is float and math.isfinite(value))


def refuse_other(structure: Structure, model: nn.Module) -> None:
    """Raise `OtherStructure` if a structure is not exactly that of a model, but for the content of tensors.

    To be called once, when the model is registered: it reads every attribute of both.
    """
    known = {id(slot) for slot in structure.slots}
    for held in held_tensors(structure.module):
        if id(held.tensor) not in known:
            raise OtherStructure(f"the recipe's structure has {held.places[0].path}, and what it builds has not")
    ours, theirs = described_modules(structure.module), described_modules(model)
    for path in sorted({*ours, *theirs}):
        if ours.get(path) != theirs.get(path):
            raise OtherStructure(
                f"the recipe's structure is another one than that of what it builds, in {path or 'the model itself'}: "
                f"{_first_difference(ours.get(path), theirs.get(path))}; `structure` must make all that `build` makes "
                "but the weights"
            )


def _first_difference(one: Any, other: Any) -> str:
    """What differs of two described modules, in a few words."""
    if one is None or other is None:
        return f"the module is only in the {'first' if other is None else 'second'}"
    for name in sorted({*one[2], *other[2]}):
        if one[2].get(name) != other[2].get(name):
            return f"attribute {name!r} is {one[2].get(name)} and {other[2].get(name)}"
    return f"{one} and {other}"
