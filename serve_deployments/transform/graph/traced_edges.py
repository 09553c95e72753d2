"""Edges of data between a model's operations, as far as torch can trace the model."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn

from serve_deployments.transform.graph.graph import Edge


@dataclass(frozen=True)
class Sample:
    """Arguments of one call of a model."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)


class _Tracer(fx.Tracer):
    """Takes an operation as one step, however it computes."""

    def __init__(self, operations: Collection[str]) -> None:
        super().__init__()
        self._operations = frozenset(operations)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name in self._operations and not m._modules


def data_edges(
    model: nn.Module, operations: Sequence[str], sample: Sample | None
) -> tuple[tuple[Edge, ...], str | None]:
    """Which operations take what others compute, directly or through functions between them.

    `torch.fx` follows a model whose control flow depends on no input; `torch.export` one that can run the sample.

    Args:
        model: the model.
        operations: paths of its operations.
        sample: arguments of a call; None: only `torch.fx` is tried.

    Returns:
        The edges, and which of the two found them; no edges and None if neither can.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a tracer says of other people's code
        try:
            return _between(_Tracer(operations).trace(_copied(model)), _by_call), "torch.fx"
        except Exception:  # any code of the model's may run into a proxy, and some models cannot be copied
            if sample is None:
                return (), None
        try:
            program = torch.export.export(_copied(model), sample.args, dict(sample.kwargs), strict=False)
        except Exception:  # likewise
            return (), None
        known = frozenset(operations)
        return _between(program.graph, lambda node: _by_stack(node, known)), "torch.export"


def _copied(model: nn.Module) -> nn.Module:
    """The model with the same parameters and with buffers of its own: tracing leaves its marks in some modules."""
    return copy.deepcopy(model, {id(parameter): parameter for parameter in model.parameters()})


def _by_call(node: fx.Node) -> str | None:
    return str(node.target) if node.op == "call_module" else None


def _by_stack(node: fx.Node, operations: Collection[str]) -> str | None:
    """The innermost operation that a traced function belongs to."""
    if node.op != "call_function":
        return None
    for path, _ in reversed(node.meta.get("nn_module_stack", {}).values()):
        if path in operations:
            return str(path)
    return None


def _between(graph: fx.Graph, operation_of: Callable[[fx.Node], str | None]) -> tuple[Edge, ...]:
    """Edges between operations; what passes through nodes of none of them is followed."""
    comes_from: dict[fx.Node, frozenset[str]] = {}
    edges: dict[Edge, None] = {}
    for node in graph.nodes:
        sources = frozenset[str]().union(*(comes_from[each] for each in node.all_input_nodes))
        operation = operation_of(node)
        if operation is None:
            comes_from[node] = sources
            continue
        for source in sorted(sources - {operation}):
            edges[Edge(source, operation, "data")] = None
        comes_from[node] = frozenset({operation})
    return tuple(edges)
