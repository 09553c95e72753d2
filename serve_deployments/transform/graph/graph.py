"""The types that a model's graph consists of; frozen, and without any tensor's content."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from serve_deployments.models.context import ModelError

Kind = Literal["parameter", "buffer", "attribute"]
"""How a module holds a tensor: registered as a parameter or a buffer, or as a plain attribute."""
EdgeKind = Literal["tree", "data"]


class NoGraph(ModelError):
    """A model has no graph of operations that could be converted; the message says why. It is loaded from scratch."""


@dataclass(frozen=True)
class Place:
    """Where in a model a tensor is found.

    Args:
        module: path of the module in the model; empty for the model itself.
        name: the tensor's name in it.
        kind: how the module holds it.
        persistent: whether it is part of the model's `state_dict`.
    """

    module: str
    name: str
    kind: Kind = "parameter"
    persistent: bool = True

    @property
    def path(self) -> str:
        """The tensor's name in the model."""
        return f"{self.module}.{self.name}" if self.module else self.name


@dataclass(frozen=True)
class Blob:
    """Bytes that belong together: those of one tensor, or of several that overlap in memory.

    Args:
        digest: hash of the bytes; empty where they were not read.
        size_bytes: how many there are.
    """

    digest: str
    size_bytes: int


@dataclass(frozen=True)
class TensorSpec:
    """A tensor of a model.

    Args:
        places: everywhere that the model holds this tensor; more than one where weights are tied.
        dtype: torch's name of its type, without `torch.`.
        shape: its sizes.
        stride: its steps in memory, in elements.
        requires_grad: whether a gradient would be computed for it.
        blob: position of its bytes in the graph's `blobs`.
        offset_bytes: where in them its first element is.

    Raises:
        ValueError: it has no place, or sizes and steps of different lengths.
    """

    places: tuple[Place, ...]
    dtype: str
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    requires_grad: bool
    blob: int
    offset_bytes: int = 0

    def __post_init__(self) -> None:
        if not self.places or len(self.shape) != len(self.stride):
            raise ValueError(f"a tensor needs a place, and a step for each size; got {self}")

    @property
    def elements(self) -> int:
        """Number of its elements."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Operation:
    """A step of a model: a module that holds tensors of its own, or has no modules in it.

    Args:
        path: path of the module in the model.
        type: its class, with the module that defines it.
        attributes: name → value of each of its plain attributes, as canonical text (`attributes.canonical`).
        tensors: positions of its tensors in the graph's `tensors`, in the order in which the module holds them.
    """

    path: str
    type: str
    attributes: Mapping[str, str] = field(hash=False, default_factory=dict)
    tensors: tuple[int, ...] = ()


@dataclass(frozen=True)
class Edge:
    """A connection of two operations.

    Args:
        source: path of the operation that comes first.
        target: path of the one after it.
        kind: "tree" in the order of the module tree, "data" if the second takes what the first computes.
    """

    source: str
    target: str
    kind: EdgeKind = "tree"


@dataclass(frozen=True)
class Graph:
    """A model as operations and connections.

    Args:
        operations: in the order of the module tree.
        edges: connections between them.
        tensors: every tensor of the model once.
        blobs: the bytes of the tensors.
        modules: digest of the module tree: paths, classes, attributes and hooks of all modules, containers too.
        training: paths of the modules in training mode.
        module_count: number of modules, containers too.
        traced: how the data edges were found ("torch.fx", "torch.export"); None if there are none.

    Raises:
        ValueError: an operation or a tensor refers to something that is not there.
    """

    operations: tuple[Operation, ...]
    edges: tuple[Edge, ...]
    tensors: tuple[TensorSpec, ...]
    blobs: tuple[Blob, ...]
    modules: str = ""
    training: frozenset[str] = frozenset()
    module_count: int = 0
    traced: str | None = None

    def __post_init__(self) -> None:
        paths = {operation.path for operation in self.operations}
        if len(paths) != len(self.operations):
            raise ValueError("two operations of a graph have the same path")
        if odd := [edge for edge in self.edges if not {edge.source, edge.target} <= paths]:
            raise ValueError(f"edge {odd[0]} leads to no operation of the graph")
        if any(not 0 <= i < len(self.tensors) for operation in self.operations for i in operation.tensors):
            raise ValueError("an operation has a tensor that is not in the graph")
        if any(not 0 <= tensor.blob < len(self.blobs) for tensor in self.tensors):
            raise ValueError("a tensor lies in bytes that are not in the graph")

    @property
    def size_bytes(self) -> int:
        """Bytes of all tensors, each once."""
        return sum(blob.size_bytes for blob in self.blobs)

    @cached_property
    def layout(self) -> tuple[object, ...]:
        """All that is known of the tensors but their content: equal for two models that differ in bytes alone."""
        sizes = tuple(blob.size_bytes for blob in self.blobs)
        return (self.tensors, sizes, self.training)

    def same_structure(self, other: Graph) -> bool:
        """Whether the two models differ in the content of their tensors alone, so that one can take the other's."""
        return bool(self.modules) and self.modules == other.modules and self.layout == other.layout
