"""Samples in Ray's object store: put there once for a study, and read from there by whoever sends or tries them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any, overload

import numpy as np
import ray
from ray import cloudpickle

from serve_deployments.endpoint import Payload

_PROTOCOL = 4
"""Of pickle. From 5 on, an array that is read-only, as in a mapped file, would stay so in all its copies."""


class StoredSamples(Sequence[Payload]):
    """A sequence of samples that is sent to another process as a reference, whatever its size.

    A process maps the samples when it first uses one. Each sample that it takes is a copy of its own, which it may
    write to, as it may to a payload that a request brings.

    Args:
        reference: Ray's reference to the serialised samples, one after the other, and to where each of them ends.
    """

    def __init__(self, reference: Any) -> None:
        self._reference = reference
        self._mapped: tuple[memoryview, list[int]] | None = None

    @classmethod
    def put(cls, samples: Iterable[Payload]) -> StoredSamples:
        """Store samples, for as long as this process or another one refers to them."""
        each = [cloudpickle.dumps(sample, protocol=_PROTOCOL) for sample in samples]
        # As an array, Ray does not copy it into the processes that read it.
        return cls(ray.put((np.frombuffer(b"".join(each), np.uint8), [0, *accumulate(map(len, each))])))

    @property
    def _stored(self) -> tuple[memoryview, list[int]]:
        if self._mapped is None:
            serialised, ends = ray.get(self._reference)
            self._mapped = memoryview(serialised), ends
        return self._mapped

    def __len__(self) -> int:
        return len(self._stored[1]) - 1

    @overload
    def __getitem__(self, index: int) -> Payload: ...
    @overload
    def __getitem__(self, index: slice) -> list[Payload]: ...
    def __getitem__(self, index: int | slice) -> Payload:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        serialised, ends = self._stored
        number = range(len(ends) - 1)[index]  # negative ones count from the end
        return cloudpickle.loads(serialised[ends[number] : ends[number + 1]])

    def __reduce__(self) -> tuple[type[StoredSamples], tuple[Any]]:
        return StoredSamples, (self._reference,)
