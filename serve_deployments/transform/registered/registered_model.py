"""A registered model, and the code by which a process makes one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from serve_deployments.models.context import ModelError
from serve_deployments.transform.graph.graph import Blob, Edge, Graph, Operation, Place, TensorSpec


@dataclass(frozen=True)
class Recipe:
    """Code that makes a model.

    Args:
        name: the model's name: letters, digits, `.`, `_` and `-`.
        build: makes the model as a service would, with its weights, ready to answer.
        structure: makes the same model, whatever its weights are; it is called with `torch.device("meta")` as the
            default device, so that no memory is taken. None: `build` is called there.

    Raises:
        ModelError: the name cannot be that of a file.
    """

    name: str
    build: Callable[[], nn.Module]
    structure: Callable[[], nn.Module] | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", self.name):
            raise ModelError(f"{self.name!r} cannot be a model's name; use up to 100 letters, digits, '.', '_' and '-'")


@dataclass(frozen=True)
class StoredBlob:
    """Where the bytes of a tensor are.

    Args:
        file: name of the file in the store.
        offset: position of the first byte in it.
        size_bytes: how many there are.
    """

    file: str
    offset: int
    size_bytes: int


@dataclass(frozen=True)
class Mark:
    """A plain attribute that `Recipe.build` leaves on a module, and `Recipe.structure` does not.

    Args:
        module: path of the module.
        name: the attribute's name.
        value: its value as JSON.
    """

    module: str
    name: str
    value: str


@dataclass(frozen=True)
class RegisteredModel:
    """What is known of a registered model wherever it may be served.

    Args:
        name: its name.
        graph: its graph; without operations if it has none.
        stored: where the bytes of each of the graph's blobs are.
        build_s: seconds that `Recipe.build` took when it was registered.
        structure_s: seconds that `Recipe.structure` took.
        why_not: why it cannot be converted, and has to be built each time; None if it can.
        marks: what has to be set in a structure.
    """

    name: str
    graph: Graph
    stored: tuple[StoredBlob, ...]
    build_s: float
    structure_s: float
    why_not: str | None = None
    marks: tuple[Mark, ...] = ()

    def __post_init__(self) -> None:
        sizes = [blob.size_bytes for blob in self.graph.blobs]
        if self.why_not is None and sizes != [blob.size_bytes for blob in self.stored]:
            raise ValueError(f"the files of {self.name} do not hold the bytes that its graph has")

    @property
    def files(self) -> frozenset[str]:
        """Names of the files that hold its weights."""
        return frozenset(blob.file for blob in self.stored)


def to_json(model: RegisteredModel) -> dict[str, Any]:
    """The model as plain values."""
    made = asdict(model)
    made["graph"]["training"] = sorted(model.graph.training)
    return made


def from_json(made: Mapping[str, Any]) -> RegisteredModel:
    """The inverse of `to_json`; raises KeyError, TypeError or ValueError for anything else."""
    graph = made["graph"]
    return RegisteredModel(
        name=made["name"],
        graph=Graph(
            tuple(Operation(o["path"], o["type"], o["attributes"], tuple(o["tensors"])) for o in graph["operations"]),
            tuple(Edge(**edge) for edge in graph["edges"]),
            tuple(_tensor(tensor) for tensor in graph["tensors"]),
            tuple(Blob(**blob) for blob in graph["blobs"]),
            graph["modules"],
            frozenset(graph["training"]),
            graph["module_count"],
            graph["traced"],
        ),
        stored=tuple(StoredBlob(**blob) for blob in made["stored"]),
        build_s=made["build_s"],
        structure_s=made["structure_s"],
        why_not=made["why_not"],
        marks=tuple(Mark(**mark) for mark in made["marks"]),
    )


def _tensor(made: Mapping[str, Any]) -> TensorSpec:
    places = tuple(Place(**place) for place in made["places"])
    return TensorSpec(**{**made, "places": places, "shape": tuple(made["shape"]), "stride": tuple(made["stride"])})
