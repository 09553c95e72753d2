"""Registers a model: loads it once the slow way, keeps it, and tries whether a conversion gives the same."""

from __future__ import annotations

import time
from collections.abc import Sequence

from serve_deployments.transform.graph.graph import NoGraph
from serve_deployments.transform.graph.reading import graph_of
from serve_deployments.transform.graph.traced_edges import Sample
from serve_deployments.transform.live.conversion import pointed
from serve_deployments.transform.live.equality import differences
from serve_deployments.transform.live.memory import Mapped
from serve_deployments.transform.live.structure import OtherStructure, refuse_other, structure_of
from serve_deployments.transform.registered.model_store import ModelStore
from serve_deployments.transform.registered.registered_model import Recipe, RegisteredModel


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
    begun = time.perf_counter()
    model = recipe.build()
    build_s = time.perf_counter() - begun
    try:
        graph = graph_of(model, calls[0] if calls else None, what=recipe.name)
        structure, structure_s = structure_of(recipe, graph)
        refuse_other(structure, model)
    except (NoGraph, OtherStructure) as error:
        return store.save_without_graph(recipe.name, str(error), build_s)
    made = store.save(recipe.name, model, graph, build_s=build_s, structure_s=structure_s)
    pointed(structure, made, Mapped(), store.folder).carry_out()
    if odd := differences(structure.module, model, calls):
        return store.save_without_graph(recipe.name, f"made from its file it is another model: {odd[0]}", build_s)
    return made
