"""Carrying out a plan: everything that can fail is done before the first write to anything live."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from serve_deployments.models.context import ModelError
from serve_deployments.transform.live.by_operators import carry_out, taken_over
from serve_deployments.transform.live.memory import Memory
from serve_deployments.transform.live.structure import Structure
from serve_deployments.transform.planning.pair import Pair
from serve_deployments.transform.registered.registered_model import RegisteredModel


class DoesNotFit(ModelError):
    """Memory or a structure is not what the plan needs; nothing has been written."""


@dataclass(frozen=True)
class Pointed:
    """What a structure is to be pointed at.

    Args:
        structure: the structure.
        target: the model that it becomes.
        storages: memory of each of its pieces.
        moved_bytes: bytes of those that were mapped or read anew.
    """

    structure: Structure
    target: RegisteredModel
    storages: tuple[torch.UntypedStorage, ...]
    moved_bytes: int

    def __post_init__(self) -> None:
        graph = self.target.graph
        if self.structure.graph is not graph and not self.structure.graph.same_structure(graph):
            raise DoesNotFit(f"the structure is not that of {self.target.name}")
        if len(self.storages) != len(graph.blobs):
            raise DoesNotFit(f"{self.target.name} needs {len(graph.blobs)} pieces of memory, got {len(self.storages)}")
        for spec in graph.tensors:
            have, need = self.storages[spec.blob].nbytes(), graph.blobs[spec.blob].size_bytes
            if have < need:
                raise DoesNotFit(f"{spec.places[0].path} of {self.target.name} needs {need} bytes, got {have}")

    def carry_out(self) -> None:
        """Points the structure's tensors at the memory."""
        self.structure.restore()
        self.structure.graph = self.target.graph
        for blob, storage in enumerate(self.storages):
            self.structure.point(blob, storage)
        self.structure.seal()


def pointed(
    structure: Structure,
    target: RegisteredModel,
    memory: Memory,
    folder: Path,
    kept: dict[int, torch.UntypedStorage] | None = None,
) -> Pointed:
    """Gets memory for all pieces but those that are kept; nothing live is changed.

    Args:
        structure: the structure that is to be pointed there.
        target: the model.
        memory: where its bytes shall lie.
        folder: the store's.
        kept: piece of the target's memory → memory that has its bytes already.
    """
    kept = kept or {}
    needed = [i for i in range(len(target.stored)) if i not in kept]
    taken = dict(zip(needed, memory.take(folder, [target.stored[i] for i in needed]), strict=True))
    storages = tuple({**kept, **taken}[i] for i in range(len(target.stored)))
    return Pointed(structure, target, storages, sum(target.stored[i].size_bytes for i in needed))


def still_there(source: Structure, pair: Pair) -> dict[int, torch.UntypedStorage]:
    """Piece of the target's memory → the live model's memory with its bytes, where nobody has written to it since."""
    return {j: source.storage(i) for j, i in enumerate(pair.shared) if i is not None and source.intact(i)}


def copy_in_place(structure: Structure, pair: Pair, memory: Memory, folder: Path) -> int:
    """Copies what differs into the live model's own memory, whose addresses stay; returns the bytes copied.

    If it fails half-way, the live model is neither of the two.

    Raises:
        DoesNotFit: before anything is written.
    """
    target = pair.target
    if not structure.graph.same_structure(target.graph):
        raise DoesNotFit(f"the live model has not the structure of {target.name}")
    needed = [
        j for j, i in enumerate(pair.shared) if target.stored[j].size_bytes and not (i == j and structure.intact(j))
    ]
    into = [structure.storage(j) for j in needed]
    for j, storage in zip(needed, into, strict=True):
        if storage.nbytes() != target.stored[j].size_bytes:
            raise DoesNotFit(f"{target.name} needs {target.stored[j].size_bytes} bytes, there are {storage.nbytes()}")
    memory.fill(folder, [target.stored[j] for j in needed], into)
    structure.restore()
    structure.graph = target.graph
    structure.seal()
    return sum(target.stored[j].size_bytes for j in needed)


def by_operators(source: Structure, structure: Structure, pair: Pair, memory: Memory, folder: Path) -> int:
    """The paper's way (`by_operators`); returns the bytes copied."""
    taken = taken_over(source, pair)
    if [each.blob for each in taken] != list(range(len(pair.target.graph.blobs))):
        raise DoesNotFit(f"some memory of {pair.target.name} belongs to no operation")
    moved = carry_out(taken, source, structure, pair, memory, folder)
    structure.restore()
    structure.seal()
    return moved
