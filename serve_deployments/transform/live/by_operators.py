"""The paper's conversion, literally: the target's operations take over the memory of the source's, one by one.

An operation of a live torch model is its memory. What connects operations is Python code in the modules around them,
which cannot be changed piece by piece, so these modules come from the target's structure: that is the Edge operator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from serve_deployments.transform.graph.graph import Graph
from serve_deployments.transform.live.memory import Memory
from serve_deployments.transform.live.structure import Structure
from serve_deployments.transform.planning.matching import match_in_order
from serve_deployments.transform.planning.pair import Pair


@dataclass(frozen=True)
class Taken:
    """What a piece of the target's memory is made of.

    Args:
        blob: the piece.
        source: the piece of the source whose memory it takes over; None: it gets new memory.
        same: whether that memory has the right bytes already.
        initialise: path of the operation that is added with it; None if it belongs to one that is matched.
    """

    blob: int
    source: int | None
    same: bool = False
    initialise: str | None = None


def taken_over(source: Structure, pair: Pair) -> list[Taken]:
    """For each piece of the target's memory where it comes from, by the paper's matching.

    Memory is taken over from the matched operation's tensor of the same name, type, sizes and steps, if no other tensor
    of either model lies in it.
    """
    one, other = pair.source.graph, pair.target.graph
    matched = {other.operations[j].path: one.operations[i].path for i, j in match_in_order(one, other)}
    there = _by_operation(one)
    alone = _alone(one), _alone(other)
    used: set[int] = set()
    made: dict[int, Taken] = {}
    for operation in other.operations:
        for i in operation.tensors:
            spec = other.tensors[i]
            if spec.blob in made:
                continue
            name = next(place.name for place in spec.places if place.module == operation.path)
            candidate = there.get((matched.get(operation.path, ""), name)) if operation.path in matched else None
            found = None
            if candidate is not None and spec.blob in alone[1]:
                old = one.tensors[candidate]
                same_form = (old.dtype, old.shape, old.stride) == (spec.dtype, spec.shape, spec.stride)
                if same_form and old.blob in alone[0] and old.blob not in used:
                    found = old.blob
                    used.add(found)
            same = found is not None and one.blobs[found] == other.blobs[spec.blob] and source.intact(found)
            added = None if operation.path in matched else operation.path
            made[spec.blob] = Taken(spec.blob, found, same, added)
    return [made[blob] for blob in sorted(made)]


def _by_operation(graph: Graph) -> dict[tuple[str, str], int]:
    """Path of an operation and name in it → position of the tensor."""
    return {(place.module, place.name): i for i, spec in enumerate(graph.tensors) for place in spec.places}


def _alone(graph: Graph) -> set[int]:
    """Pieces of memory that are one tensor each."""
    inside: dict[int, int] = {}
    for spec in graph.tensors:
        inside[spec.blob] = inside.get(spec.blob, 0) + 1
    return {blob for blob, count in inside.items() if count == 1}


def carry_out(
    taken: Sequence[Taken], source: Structure, target: Structure, pair: Pair, memory: Memory, folder: Path
) -> int:
    """Does it, operator by operator: memory, initial values of what is added, weights. Returns the bytes copied."""
    stored, moved = pair.target.stored, 0
    modules = dict(target.module.named_modules())
    initialised: set[str] = set()
    for each in taken:
        if each.source is None:
            [storage] = memory.take(folder, [stored[each.blob]])
        else:
            storage = source.storage(each.source)
        target.point(each.blob, storage)
    for each in taken:
        if each.initialise is not None and each.initialise not in initialised:
            initialised.add(each.initialise)
            _initialise(modules[each.initialise])
    for each in taken:
        if not each.same and (each.source is not None or each.initialise is not None):
            memory.fill(folder, [stored[each.blob]], [target.storage(each.blob)])
        moved += 0 if each.same else stored[each.blob].size_bytes
    return moved


def _initialise(module: nn.Module) -> None:
    """What a layer's constructor does to its new memory, and weights overwrite: the cost that the paper calls Add."""
    reset = getattr(module, "reset_parameters", None)
    if callable(reset):
        with torch.no_grad(), torch.random.fork_rng(devices=()):
            reset()
