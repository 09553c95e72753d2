"""Reads the graph of a live model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from serve_deployments.transform.graph.attributes import Known, canonical_attributes, canonical_hooks
from serve_deployments.transform.graph.graph import Edge, Graph, NoGraph, Operation, TensorSpec
from serve_deployments.transform.graph.tensors import described, held_tensors
from serve_deployments.transform.graph.traced_edges import Sample, data_edges


def graph_of(
    model: Any, sample: Sample | None = None, *, digests: bool = True, trace: bool = True, what: str = "the model"
) -> Graph:
    """The graph of a model, as it is now.

    Args:
        model: a `torch.nn.Module`.
        sample: arguments of a call, with which `torch.export` may find the edges that `torch.fx` does not.
        digests: whether tensors are read and hashed, at about 1 GB/s.
        trace: whether data edges are looked for; tracing a large model takes seconds.
        what: name of the model, for errors.

    Raises:
        NoGraph: it is no such model, or holds tensors that cannot be described.
    """
    refuse_without_graph(model, what)
    tensors, blobs = described(held_tensors(model), digests=digests)
    operations = _operations(model, tensors)
    paths = [operation.path for operation in operations]
    data, how = data_edges(model, paths, sample) if trace else ((), None)
    tree = tuple(Edge(a, b) for a, b in zip(paths, paths[1:], strict=False))
    modules = dict(model.named_modules())
    training = frozenset(path for path, module in modules.items() if module.training)
    return Graph(operations, tree + data, tensors, blobs, modules_digest(model), training, len(modules), how)


def refuse_without_graph(model: Any, what: str = "the model") -> None:
    """Raise `NoGraph` if this is not a model whose operations are modules of torch."""
    remedy = "it is loaded from scratch"
    if isinstance(model, torch.jit.ScriptModule | torch.jit.ScriptFunction):
        raise NoGraph(f"{what} is TorchScript, whose operations are compiled into it; {remedy}")
    if not isinstance(model, nn.Module):
        raise NoGraph(
            f"{what} is a {type(model).__name__} and no torch.nn.Module, so its operations are not known; {remedy}"
        )


def modules_digest(model: nn.Module) -> str:
    """Hash of the module tree: all but tensors and training mode. Equal for two models with the same code to run."""
    return hashlib.sha256(json.dumps(described_modules(model), sort_keys=True).encode()).hexdigest()[:32]


def described_modules(model: nn.Module) -> dict[str, Any]:
    """Path → class, attributes, hooks and names of tensors of each module; a module in two places is there twice."""
    known = Known.of(model)
    return {
        path: [
            known.paths[id(module)],
            type_of(module),
            canonical_attributes(module, known),
            canonical_hooks(module, known),
            sorted(module._parameters),
            sorted(module._buffers),
        ]
        for path, module in model.named_modules(remove_duplicate=False)
    }


def type_of(module: nn.Module) -> str:
    """A module's class, with the module that defines it."""
    return f"{type(module).__module__}.{type(module).__qualname__}"


def _operations(model: nn.Module, tensors: Sequence[TensorSpec]) -> tuple[Operation, ...]:
    own: dict[str, list[int]] = {}
    for i, tensor in enumerate(tensors):
        for place in tensor.places:
            own.setdefault(place.module, []).append(i)
    known = Known.of(model)
    return tuple(
        Operation(path, type_of(module), canonical_attributes(module, known), tuple(own.get(path, ())))
        for path, module in model.named_modules()
        if path in own or not module._modules
    )
