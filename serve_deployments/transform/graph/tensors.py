"""Every tensor of a model once, with all its places, and the bytes that it lies in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from serve_deployments.transform.graph.attributes import HOOKS, REGISTRIES
from serve_deployments.transform.graph.graph import Blob, NoGraph, Place, TensorSpec

DIGEST_BYTES = 16
"""Length of a content hash: two of 10^9 different tensors are alike with a probability below 10^-20."""


@dataclass(frozen=True)
class Held:
    """A tensor with everywhere that a model holds it."""

    tensor: torch.Tensor
    places: tuple[Place, ...]


def held_tensors(model: nn.Module) -> list[Held]:
    """The model's tensors in the order of its module tree: parameters, buffers (all), then plain attributes.

    A tensor that several places share is there once (tied weights).

    Raises:
        NoGraph: a tensor cannot be described by its type, sizes and steps, or is held where it would not be found.
    """
    found: dict[int, tuple[torch.Tensor, list[Place]]] = {}
    for path, module in model.named_modules():
        for place, tensor in _of_module(path, module):
            _refuse_odd(place, tensor)
            found.setdefault(id(tensor), (tensor, []))[1].append(place)
    for path, module in model.named_modules():
        _refuse_hidden(path, module, found)
    return [Held(tensor, tuple(places)) for tensor, places in found.values()]


def _of_module(path: str, module: nn.Module) -> Iterator[tuple[Place, torch.Tensor]]:
    for name, parameter in module._parameters.items():
        if parameter is not None:
            yield Place(path, name, "parameter"), parameter
    for name, buffer in module._buffers.items():
        if buffer is not None:
            yield Place(path, name, "buffer", name not in module._non_persistent_buffers_set), buffer
    for name, value in vars(module).items():
        if isinstance(value, torch.Tensor):
            yield Place(path, name, "attribute", False), value


def _refuse_odd(place: Place, tensor: torch.Tensor) -> None:
    if nn.parameter.is_lazy(tensor):
        raise NoGraph(f"{place.path} has no size before the first call; call the model once when it is built")
    if (
        tensor.layout != torch.strided
        or tensor.is_quantized
        or type(tensor) not in (torch.Tensor, nn.Parameter, nn.Buffer)
    ):
        raise NoGraph(f"{place.path} is a {type(tensor).__name__} of layout {tensor.layout}, which cannot be mapped")


def _refuse_hidden(path: str, module: nn.Module, found: Mapping[int, Any]) -> None:
    for name, value in vars(module).items():
        if name in REGISTRIES or name in HOOKS:
            continue
        for tensor in _inside(value):
            if id(tensor) not in found:
                where = f"{path}.{name}" if path else name
                raise NoGraph(f"{where} holds tensors within a {type(value).__name__}; register them as buffers")


def _inside(value: Any, depth: int = 3) -> Iterator[torch.Tensor]:
    """Tensors in containers and plain objects; `depth` levels of them are looked into."""
    if isinstance(value, torch.Tensor):
        yield value
    elif depth and isinstance(value, Mapping):
        for each in value.values():
            yield from _inside(each, depth - 1)
    elif depth and isinstance(value, list | tuple | set):
        for each in value:
            yield from _inside(each, depth - 1)
    elif depth and hasattr(value, "__dict__") and not isinstance(value, nn.Module | type) and not callable(value):
        yield from _inside(vars(value), depth - 1)


def described(held: Sequence[Held], *, digests: bool = True) -> tuple[tuple[TensorSpec, ...], tuple[Blob, ...]]:
    """What there is to say of the tensors, and their bytes.

    Tensors that overlap in memory are described by the same bytes, so that they overlap again wherever these are put;
    an expanded tensor has as few bytes as it takes.

    Args:
        held: the tensors.
        digests: whether the bytes are read and hashed.
    """
    blobs: list[Blob] = []
    where: dict[int, tuple[int, int]] = {}
    for storage, begin, end, members in _spans(held):
        for i in members:
            where[i] = (len(blobs), _first_byte(held[i].tensor) - begin)
        digest = digest_of(torch.empty(0, dtype=torch.uint8).set_(storage)[begin:end]) if digests else ""
        blobs.append(Blob(digest, end - begin))
    return tuple(
        TensorSpec(
            each.places, str(each.tensor.dtype).removeprefix("torch."), tuple(each.tensor.shape),
            tuple(each.tensor.stride()), each.tensor.requires_grad, *where[i],
        )
        for i, each in enumerate(held)
    ), tuple(blobs)  # fmt: skip


def spans(held: Sequence[Held]) -> list[torch.Tensor]:
    """The bytes of the tensors where they are now, in the order of `described`'s blobs."""
    return [
        torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)[begin:end]
        for storage, begin, end, _ in _spans(held)
    ]


def _spans(held: Sequence[Held]) -> list[tuple[torch.UntypedStorage, int, int, list[int]]]:
    """Storage, first and last byte + 1, and tensors of each piece of memory that is in use, by their first tensor."""
    # A meta tensor has no address: each is a piece by itself.
    by_storage: dict[tuple[str, int], list[int]] = {}
    for i, each in enumerate(held):
        storage = each.tensor.untyped_storage()
        address = storage.data_ptr() if storage.device.type != "meta" and storage.nbytes() else -1 - i
        by_storage.setdefault((str(storage.device), address), []).append(i)
    pieces: list[tuple[torch.UntypedStorage, int, int, list[int]]] = []
    for members in by_storage.values():
        storage = held[members[0]].tensor.untyped_storage()
        reach = 0
        for i in sorted(members, key=lambda i: _first_byte(held[i].tensor)):
            begin, end = _first_byte(held[i].tensor), _last_byte(held[i].tensor)
            if begin < reach and begin < end:  # within what came before
                _, start, _, inside = pieces[-1]
                reach = max(reach, end)
                pieces[-1] = (storage, start, reach, [*inside, i])
            else:
                pieces.append((storage, begin, end, [i]))
                reach = end
    return sorted(pieces, key=lambda piece: min(piece[3]))


def _first_byte(tensor: torch.Tensor) -> int:
    return int(tensor.storage_offset()) * tensor.element_size()


def _last_byte(tensor: torch.Tensor) -> int:
    """The byte after the last one that the tensor reaches."""
    if not tensor.numel():
        return _first_byte(tensor)
    steps = sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride(), strict=True))
    return _first_byte(tensor) + (steps + 1) * tensor.element_size()


def digest_of(data: torch.Tensor) -> str:
    """Hash of bytes, `[n]` of uint8 in CPU memory."""
    return hashlib.blake2b(data.detach().cpu().numpy().data, digest_size=DIGEST_BYTES).hexdigest()
