"""Registers a model: loads it once the slow way, keeps it, and tries whether a conversion gives the same."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from serve_deployments.transform.graph.graph import Graph, NoGraph
from serve_deployments.transform.graph.reading import graph_of
from serve_deployments.transform.graph.traced_edges import Sample
from serve_deployments.transform.live.conversion import pointed
from serve_deployments.transform.live.equality import differences
from serve_deployments.transform.live.memory import Mapped
from serve_deployments.transform.live.structure import OtherStructure, Structure, marks_of, refuse_other, structure_of
from serve_deployments.transform.registered.model_store import ModelStore
from serve_deployments.transform.registered.registered_model import Mark, Recipe, RegisteredModel, StoredBlob


def register(store: ModelStore, recipe: Recipe, calls: Sequence[Sample] = ()) -> RegisteredModel:
    """Registers a model, or replaces the one of its name.

    Its weights are read and hashed, and kept in a file that can be mapped. Then it is made from that file and compared
    with what the recipe built, bit by bit, the outputs of `calls` too. A model without a graph, or that would not be
    the same, is registered as one that has to be built each time; `why_not` says why.

    Args:
        store: where to.
        recipe: code that makes it.
        calls: arguments of calls whose outputs are compared; with the first, data edges may be found by `torch.export`.

    Raises:
        Exception: whatever the recipe's code raises.
    """
    read = _read(recipe, calls[0] if calls else None)
    if read.structure is None or read.model is None:
        return store.save_without_graph(recipe.name, read.why_not, read.build_s)
    graph = read.structure.graph
    made = store.save(
        recipe.name, read.model, graph, build_s=read.build_s, structure_s=read.structure_s, marks=read.marks
    )
    pointed(read.structure, made, Mapped(), store.folder).carry_out()
    if odd := differences(read.structure.module, read.model, calls):
        why = f"made from its file it is another model: {odd[0]}"
        return store.save_without_graph(recipe.name, why, read.build_s)
    return made


def described(recipe: Recipe) -> RegisteredModel:
    """What registering a model would say of it, without keeping anything: for plans, not for conversions."""
    read = _read(recipe, None)
    if read.structure is None:
        return RegisteredModel(recipe.name, Graph((), (), (), ()), (), read.build_s, 0.0, read.why_not)
    graph = read.structure.graph
    stored = tuple(StoredBlob(recipe.name if blob.size_bytes else "", 0, blob.size_bytes) for blob in graph.blobs)
    return RegisteredModel(recipe.name, graph, stored, read.build_s, read.structure_s, None, read.marks)


@dataclass(frozen=True)
class _Read:
    """A model that was built, with its structure; or why it has none."""

    build_s: float
    model: nn.Module | None = None
    structure: Structure | None = None
    structure_s: float = 0.0
    marks: tuple[Mark, ...] = ()
    why_not: str = ""


def _read(recipe: Recipe, sample: Sample | None) -> _Read:
    begun = time.perf_counter()
    try:
        model = recipe.build()
        build_s = time.perf_counter() - begun
        graph = graph_of(model, sample, what=recipe.name)
        structure, first_s = structure_of(recipe, graph)
        marks = marks_of(structure, model)
        # Once more: the first time, torch and the model's library do what they do once in a process.
        structure, structure_s = structure_of(recipe, graph, marks=marks)
        refuse_other(structure, model)
    except (NoGraph, OtherStructure) as error:
        return _Read(time.perf_counter() - begun, why_not=str(error))
    return _Read(build_s, model, structure, min(first_s, structure_s), marks)
