"""Several tensors in one buffer, so that one copy moves them all; and the few shapes that they are filled up to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from serve_deployments.batches.batch_parts import Tensors

_ALIGNED = 256
"""Bytes; what CUDA aligns its own allocations to (CUDA C++ Programming Guide, "Device Memory Accesses"): kernels that
read vectors find each packed tensor as they would find one of its own."""


@dataclass(frozen=True)
class PackedTensor:
    """One tensor's place in the buffer.

    Args:
        name: of the tensor.
        shape: its sizes.
        dtype: its number format.
        offset: first byte.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    offset: int

    @property
    def size_bytes(self) -> int:
        """Without what follows for alignment."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Layout:
    """Where tensors lie; equal for batches of equal shapes, so that it can be a key.

    Args:
        places: one for each tensor, in order.
    """

    places: tuple[PackedTensor, ...]

    @classmethod
    def of(cls, tensors: Mapping[str, torch.Tensor]) -> Layout:
        """Room for these tensors, as they are."""
        return cls(tuple(PackedTensor(name, tuple(t.shape), t.dtype, 0) for name, t in tensors.items()))._laid_out()

    @property
    def size_bytes(self) -> int:
        """Of the whole buffer."""
        return max((_up(place.offset + place.size_bytes, _ALIGNED) for place in self.places), default=0)

    def views(self, buffer: torch.Tensor) -> Tensors:
        """The tensors in a buffer `[size_bytes or more]` of bytes; nothing is copied."""
        return {p.name: buffer[p.offset : p.offset + p.size_bytes].view(p.dtype).view(p.shape) for p in self.places}

    def write(self, buffer: torch.Tensor, tensors: Tensors, filling: Mapping[str, float] | None = None) -> None:
        """Copy tensors into a buffer, and fill up where their place is larger.

        Args:
            buffer: bytes, on the tensors' device.
            tensors: by the names of the places.
            filling: what fills up the second dimension. More rows repeat the first: what a model does with rows of
                nothing is nobody's contract (a mask of zeros gives NaN in a softmax).
        """
        for name, view in self.views(buffer).items():
            source = tensors[name]
            if view.shape == source.shape:
                view.copy_(source)
                continue
            rows = len(source)
            part = view[:rows]
            if part.shape != source.shape:
                part[:, source.shape[1] :].fill_((filling or {})[name])
                part = part[:, : source.shape[1]]
            part.copy_(source)
            view[rows:] = view[:1]

    def filled(self, rows: int, filling: Mapping[str, float], longest: int | None) -> Layout:
        """Room for a few shapes only: the batch, and the length of what has a filling, up to their `bucket`.

        Args:
            rows: of the batch; a tensor of another first dimension keeps its shape.
            filling: names of the tensors whose second dimension may grow.
            longest: what it may grow to.
        """
        return Layout(tuple(_filled(p, rows, p.name in filling, longest) for p in self.places))._laid_out()

    def _laid_out(self) -> Layout:
        offset, places = 0, []
        for place in self.places:
            places.append(replace(place, offset=offset))
            offset = _up(offset + place.size_bytes, _ALIGNED)
        return Layout(tuple(places))


def bucket(size: int) -> int:
    """The size that batches of this size are filled up to: 1, 2, 4, 8, 16, …, 64, 80, 96, …, 128, 160 and so on.

    Powers of two up to 8; then multiples of 8, which half precision's matrix units want (NVIDIA, "Matrix
    Multiplication Background"); from 64 on quarters of a power of two. Our choice: above 32 at most a quarter is
    added, and 11 sizes of up to 64 rows times 23 lengths of up to 512 tokens still fit in `cuda_graphs.MOST`.
    """
    below = 1 << max(0, (size - 1).bit_length() - 1)  # the largest power of two under it
    return 2 * below if 1 < size <= 8 else _up(size, max(8, below // 4)) if size > 8 else 1


def buckets_up_to(most: int) -> tuple[int, ...]:
    """All that batches of up to `most` can be filled up to, the largest first."""
    return tuple(sorted({bucket(size) for size in range(1, most + 1)}, reverse=True))


def first_sizes(max_batch_size: int, *, every_size: bool) -> Sequence[int]:
    """The sizes that a replica runs first, the largest first: what memory it takes, and what a size pays only once.

    Args:
        max_batch_size: the largest.
        every_size: all that batches can be filled up to, not the largest alone.
    """
    if not every_size:
        return (max_batch_size,)
    return tuple(dict.fromkeys(min(size, max_batch_size) for size in buckets_up_to(max_batch_size)))


def _filled(place: PackedTensor, rows: int, grows: bool, longest: int | None) -> PackedTensor:
    if not place.shape or place.shape[0] != rows:
        return place
    shape = [bucket(rows), *place.shape[1:]]
    if grows and len(shape) > 1:
        length = shape[1]
        shape[1] = max(length, min(bucket(length), longest or bucket(length)))
    return replace(place, shape=tuple(shape))


def _up(size: int, step: int) -> int:
    return -(-size // step) * step
