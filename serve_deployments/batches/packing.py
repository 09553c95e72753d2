"""Packs several tensors into one buffer, so that one copy moves them all, and pads them to a small number of shapes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from serve_deployments.batches.batch_parts import Tensors

_ALIGNED = 256
"""Alignment of packed tensors in bytes, that of CUDA's own allocations (CUDA C++ Programming Guide, "Device Memory
Accesses"): kernels that read vectors find a packed tensor aligned like a separate one."""


@dataclass(frozen=True)
class PackedTensor:
    """The place of one tensor in the buffer.

    Args:
        name: the tensor's name.
        shape: its shape.
        dtype: its number format.
        offset: index of its first byte in the buffer.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    offset: int

    @property
    def size_bytes(self) -> int:
        """Size of the tensor in bytes, without the padding for alignment."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Layout:
    """The places of tensors in a buffer; equal for batches of equal shapes, so that it can be used as a key.

    Args:
        places: the place of each tensor, in order.
    """

    places: tuple[PackedTensor, ...]

    @classmethod
    def of(cls, tensors: Mapping[str, torch.Tensor]) -> Layout:
        """The layout for these tensors, without padding of their shapes."""
        return cls(tuple(PackedTensor(name, tuple(t.shape), t.dtype, 0) for name, t in tensors.items()))._laid_out()

    @property
    def size_bytes(self) -> int:
        """Size of the whole buffer in bytes."""
        return max((_up(place.offset + place.size_bytes, _ALIGNED) for place in self.places), default=0)

    def views(self, buffer: torch.Tensor) -> Tensors:
        """The tensors in a buffer of bytes `[size_bytes or more]`, as views; nothing is copied."""
        return {p.name: buffer[p.offset : p.offset + p.size_bytes].view(p.dtype).view(p.shape) for p in self.places}

    def write(self, buffer: torch.Tensor, tensors: Tensors, filling: Mapping[str, float] | None = None) -> None:
        """Copies tensors into a buffer, with padding where their place is larger.

        Args:
            buffer: buffer of bytes, on the tensors' device.
            tensors: name → tensor, for the names of the places.
            filling: name → value that pads the second dimension. Additional rows repeat the first, as models need not
                support empty rows (a mask of zeros gives NaN in a softmax).
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
        """The layout with padded shapes: the batch, and lengths that have a filling, are rounded up to their `bucket`.

        Args:
            rows: number of rows of the batch; a tensor with another first dimension keeps its shape.
            filling: has the names of the tensors whose second dimension may be padded.
            longest: largest length to pad to; None: no limit.
        """
        return Layout(tuple(_filled(p, rows, p.name in filling, longest) for p in self.places))._laid_out()

    def _laid_out(self) -> Layout:
        offset, places = 0, []
        for place in self.places:
            places.append(replace(place, offset=offset))
            offset = _up(offset + place.size_bytes, _ALIGNED)
        return Layout(tuple(places))


def bucket(size: int) -> int:
    """The size to which batches of this size are padded: 1, 2, 4, 8, 16, …, 64, 80, 96, …, 128, 160 and so on.

    Powers of two up to 8; then multiples of 8, with which matrix units are fastest in half precision (NVIDIA, "Matrix
    Multiplication Background"); from 64 on quarters of a power of two. Our choice: above 32 at most a quarter is
    added, and 11 sizes of up to 64 rows times 23 lengths of up to 512 tokens still fit in `cuda_graphs.MOST`.
    """
    below = 1 << max(0, (size - 1).bit_length() - 1)  # the largest power of two below it
    return 2 * below if 1 < size <= 8 else _up(size, max(8, below // 4)) if size > 8 else 1


def buckets_up_to(most: int) -> tuple[int, ...]:
    """All sizes to which batches of up to `most` can be padded, the largest first."""
    return tuple(sorted({bucket(size) for size in range(1, most + 1)}, reverse=True))


def first_sizes(max_batch_size: int, *, every_size: bool) -> Sequence[int]:
    """The batch sizes that a replica runs before any load, the largest first, to test memory and take one-time costs.

    Args:
        max_batch_size: the largest batch size.
        every_size: whether to run all sizes to which batches can be padded, not only the largest.
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
