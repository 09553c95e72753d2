"""What two registered models have in common: found once when they are registered, whatever way is taken later."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property

from serve_deployments.transform.registered.registered_model import RegisteredModel


@dataclass(frozen=True)
class Pair:
    """A model that is given up, and one that is wanted.

    Args:
        source: the first.
        target: the second.
        shared: for each piece of the target's memory, the piece of the source's that has the same bytes; None if there
            is none. No piece is there twice, as two tensors of one model do not lie in the same memory.
    """

    source: RegisteredModel
    target: RegisteredModel
    shared: tuple[int | None, ...]

    @classmethod
    def of(cls, source: RegisteredModel, target: RegisteredModel) -> Pair:
        """Compares the hashes of two models; pieces at the same position first."""
        ours, theirs = source.graph.blobs, target.graph.blobs
        shared: list[int | None] = [None] * len(theirs)
        free: dict[tuple[str, int], list[int]] = defaultdict(list)
        for i, blob in enumerate(ours):
            if blob.digest and blob.size_bytes:
                if i < len(theirs) and theirs[i] == blob:
                    shared[i] = i
                else:
                    free[blob.digest, blob.size_bytes].append(i)
        for j, blob in enumerate(theirs):
            if shared[j] is None and free.get((blob.digest, blob.size_bytes)):
                shared[j] = free[blob.digest, blob.size_bytes].pop(0)
        return cls(source, target, tuple(shared))

    @cached_property
    def same_structure(self) -> bool:
        """Whether one can take the other's weights."""
        return self.source.graph.same_structure(self.target.graph)

    @cached_property
    def differing(self) -> tuple[int, ...]:
        """Pieces of the target's memory that the source has not."""
        return tuple(j for j, i in enumerate(self.shared) if i is None)

    @cached_property
    def differing_bytes(self) -> int:
        """Bytes of those."""
        return sum(self.target.graph.blobs[j].size_bytes for j in self.differing)

    @property
    def shared_bytes(self) -> int:
        """Bytes that both have."""
        return self.target.graph.size_bytes - self.differing_bytes
