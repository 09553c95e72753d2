"""Whether a converted model is what a fresh load would be: everything that can be told from outside, bit by bit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from serve_deployments.transform.graph.reading import described_modules
from serve_deployments.transform.graph.tensors import Held, held_tensors
from serve_deployments.transform.graph.traced_edges import Sample


def differences(made: nn.Module, fresh: nn.Module, calls: Sequence[Sample] = ()) -> list[str]:
    """What is not the same of two models, a sentence each; empty if one cannot be told from the other.

    Compared are modules with attributes and hooks, training mode, every parameter and buffer with its type, sizes,
    steps, gradient flag, content and ties, and the outputs of calls.
    """
    found = [*_modules(made, fresh), *_tensors(made, fresh)]
    return found or list(_outputs(made, fresh, calls))


def _modules(made: nn.Module, fresh: nn.Module) -> Iterator[str]:
    ours, theirs = described_modules(made), described_modules(fresh)
    for path in sorted({*ours, *theirs}):
        if ours.get(path) != theirs.get(path):
            yield f"module {path!r} has {ours.get(path)}, and freshly loaded {theirs.get(path)}"
    modes = dict(fresh.named_modules())
    for path, module in made.named_modules():
        if path in modes and module.training != modes[path].training:
            yield f"module {path!r} has training {module.training}, and freshly loaded {modes[path].training}"


def _tensors(made: nn.Module, fresh: nn.Module) -> Iterator[str]:
    ours = {held.places: held for held in held_tensors(made)}
    theirs = {held.places: held for held in held_tensors(fresh)}
    for places in sorted({*ours, *theirs}, key=lambda places: places[0].path):
        if places not in ours or places not in theirs:
            yield f"tensor {places[0].path} has its places {places} in one of the two alone"
        elif odd := _unlike(ours[places], theirs[places]):
            yield f"tensor {places[0].path} differs in {odd}"


def _unlike(one: Held, other: Held) -> str | None:
    a, b = one.tensor, other.tensor
    told = {
        "class": (type(a), type(b)), "dtype": (a.dtype, b.dtype), "device": (a.device.type, b.device.type),
        "shape": (a.shape, b.shape), "stride": (a.stride(), b.stride()),
        "requires_grad": (a.requires_grad, b.requires_grad), "grad": (a.grad is None, b.grad is None),
    }  # fmt: skip
    for name, (x, y) in told.items():
        if x != y:
            return f"{name}: {x} and {y}"
    if a.device.type == "meta" or not torch.equal(_bits(a), _bits(b)):
        return "content"
    return None


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    """Its content as bytes, so that NaN is equal to itself and 0 is not equal to -0."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)


def _outputs(made: nn.Module, fresh: nn.Module, calls: Sequence[Sample]) -> Iterator[str]:
    for i, call in enumerate(calls):
        ours, theirs = answer(made, call), answer(fresh, call)
        if len(ours) != len(theirs) or not all(map(_equal, ours, theirs)):
            yield f"the outputs of call {i} differ"


def answer(model: nn.Module, call: Sample) -> list[Any]:
    """What a model returns for a call, as a list of tensors and other values; random numbers are the same each time."""
    with torch.inference_mode(), torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        return list(pytree.tree_leaves(model(*call.args, **call.kwargs)))


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(_bits(a), _bits(b))
    return type(a) is type(b)
