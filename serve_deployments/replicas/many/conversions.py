"""Conversions between models that a process has held (see `transform`)."""

from __future__ import annotations

import copy
import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from serve_deployments.models.context import ModelError
from serve_deployments.replicas.many.line import Loaded
from serve_deployments.replicas.many.module_places import ModulePlaces
from serve_deployments.transform.costs.costs import Costs
from serve_deployments.transform.graph.found_module import module_in
from serve_deployments.transform.graph.graph import NoGraph
from serve_deployments.transform.live.holder import Holder
from serve_deployments.transform.live.registering import register
from serve_deployments.transform.profiling.profile import costs_here
from serve_deployments.transform.registered.model_store import ModelStore
from serve_deployments.transform.registered.registered_model import Recipe

_OURS = 2
"""References to a fresh module that are ours: the list that it is in, and the argument of `getrefcount` itself."""


class TransformConversions:
    """Has a process's models share what they have in common.

    When a model was built for the first time, its weights are kept in a file that can be mapped, and its module is
    replaced by one with mapped weights, which the processes of a node share. Later it is got by the cheapest of
    `transform`'s ways, in place of the model that is held: the tensors that differ are loaded, or the live or a kept
    structure is pointed at its weights.

    Args:
        folder: where weights are kept; on the node's own disk, and shared by its processes.
        costs: what conversions cost with the files of a store; measured in the folder if they are not there yet.
    """

    def __init__(self, folder: Path, costs: Callable[[ModelStore], Costs] = costs_here) -> None:
        self._store = ModelStore(folder)
        self._holder = Holder(self._store, (), costs(self._store))
        self._places: dict[str, ModulePlaces] = {}
        self._held: str | None = None

    def note(self, key: str, built: Any) -> int | None:
        """See `Conversions.note`."""
        try:
            places = ModulePlaces(built, module_in(built))
            fresh = [module_in(built)]
            structure = without_weights(fresh[0])
            recipe = Recipe(key, lambda: _taken(fresh), lambda: copy.deepcopy(structure))
            if key not in self._store.names() or self._store.load(key).why_not is not None:
                if register(self._store, recipe).why_not is not None:
                    return None
            self._holder.add(recipe)
            moved = self._in_place_of(fresh, key, places)
        except (NoGraph, ModelError, OSError):  # the model serves all the same; it is built each time
            self.release()
            return None
        self._held, self._places[key] = key, places
        return moved

    def become(self, key: str, built: Any) -> Loaded:
        """See `Conversions.become`."""
        source, self._held = self._held, None
        try:
            got = self._holder.convert(key, source)
        except Exception:
            self.release()
            raise
        self._places[key].put(got.module)
        self._held = key
        return Loaded(got.seconds, got.moved_bytes, got.way.value)

    def release(self) -> None:
        """See `Conversions.release`."""
        for name in self._holder.held:
            self._holder.release(name)
        self._held = None

    def _in_place_of(self, fresh: list[nn.Module], key: str, places: ModulePlaces) -> int:
        """Puts a module with mapped weights in place of the fresh one, if nobody else knows that."""
        got = self._holder.convert(key)
        places.put(got.module)
        places.forget()
        gc.collect()
        # Counted, as referrers that Serve has taken out of collections cannot be listed.
        if sys.getrefcount(fresh[0]) > _OURS:
            places.put(fresh[0])
            raise NoGraph("something else refers to the model's module, so it is built each time")
        fresh.clear()
        return got.moved_bytes


def without_weights(module: nn.Module) -> nn.Module:
    """A copy whose parameters and buffers take no memory; what is tied stays tied."""
    memo: dict[int, Any] = {}
    for parameter in module.parameters():
        memo[id(parameter)] = nn.Parameter(_empty(parameter), requires_grad=parameter.requires_grad)
    for buffer in module.buffers():
        memo[id(buffer)] = _empty(buffer)
    return copy.deepcopy(module, memo)


def _empty(tensor: torch.Tensor) -> torch.Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")


def _taken(fresh: list[nn.Module]) -> nn.Module:
    if not fresh:
        raise ModelError("the model was built by its service once, and is not built by a conversion")
    return fresh[0]
