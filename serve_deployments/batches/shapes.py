"""All shapes that batches of given samples can have, and for each a batch that has it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch

from serve_deployments.batches.batch_parts import Parts
from serve_deployments.batches.packing import Layout
from serve_deployments.endpoint import Payload

Shape = tuple[tuple[str, torch.dtype, tuple[int, ...]], ...]
"""Name, number format and sizes of each tensor of one sample, with lengths rounded up to their bucket."""


def shapes_of(parts: Parts, samples: Iterable[Payload], enough: Callable[[], bool]) -> dict[Shape, int]:
    """The different shapes of single samples → the number of the first sample that has it.

    Args:
        parts: the model.
        samples: payloads that the model may write to; those that it refuses are left out.
        enough: whether to leave out the rest of the samples; asked before each.
    """
    found: dict[Shape, int] = {}
    for number, sample in enumerate(samples):
        if enough():
            break
        try:
            layout = Layout.of(parts.collate([sample])).filled(1, parts.filling, parts.longest)
        except Exception:  # the load test counts it
            continue
        found.setdefault(tuple((place.name, place.dtype, place.shape) for place in layout.places), number)
    return found


def combinations(found: dict[Shape, int], most_rows: int, most: int) -> list[tuple[int, ...]]:
    """Numbers of the samples that together have each shape a batch can have, the largest shape first.

    A batch is as long as the longest of its samples, in each of its tensors: where a text and its question have lengths
    of their own, a long text beside a long question makes a shape that no sample has by itself.

    Args:
        found: as `shapes_of` returns it.
        most_rows: largest number of samples to combine.
        most: largest number of combinations.
    """
    known: dict[Shape, tuple[int, ...]] = {shape: (number,) for shape, number in found.items()}
    todo = list(known)
    for shape in todo:  # grows meanwhile
        for single, number in found.items():
            if len(known) >= most or len(known[shape]) >= most_rows:
                break
            both = _larger(shape, single)
            if both is not None and both not in known:
                known[both] = (*known[shape], number)
                todo.append(both)
    return [known[shape] for shape in sorted(known, key=_size, reverse=True)][:most]


def batches_of(combined: Sequence[tuple[int, ...]], sizes: Sequence[int]) -> list[tuple[int, ...]]:
    """Numbers of the samples of each batch to run, so that each combination has been run in each size.

    Args:
        combined: as `combinations` returns it.
        sizes: numbers of payloads; a batch of fewer than a combination has samples cannot have its shape.
    """
    return [
        tuple(numbers[row % len(numbers)] for row in range(size))
        for size in sizes
        for numbers in combined
        if len(numbers) <= size
    ]


def _larger(one: Shape, other: Shape) -> Shape | None:
    """The shape of a batch of both; None if they cannot be in one batch."""
    if [(name, dtype, len(sizes)) for name, dtype, sizes in one] != [(n, d, len(s)) for n, d, s in other]:
        return None
    pairs = zip(one, other, strict=True)
    return tuple((name, dtype, tuple(map(max, sizes, theirs))) for (name, dtype, sizes), (_, _, theirs) in pairs)


def _size(shape: Shape) -> int:
    return sum(torch.Size(sizes).numel() * dtype.itemsize for _, dtype, sizes in shape)
