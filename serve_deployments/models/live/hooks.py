"""What a model may have beside its call: `change`, `reset` and `close`, and what our own models tell of themselves."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from serve_deployments.batches.batch_parts import TwoSteps
from serve_deployments.models.model import BatchFunction
from serve_deployments.resources.enforcement import Enforcement

Hook = Callable[..., Any]


def hook(batch: BatchFunction | None, name: str) -> Hook | None:
    """A method of what the builder returned; None if it has none of this name, or nothing was built.

    It may be asynchronous. It is called in the model's thread, and never while a batch runs.
    """
    found = getattr(getattr(batch, "built", batch), name, None)
    return found if callable(found) else None


def changeable(batch: BatchFunction) -> frozenset[str]:
    """Names of the builder's arguments that a running model can change: the parameters of its `change`."""
    change = hook(batch, "change")
    if change is None:
        return frozenset()
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return frozenset(name for name, p in inspect.signature(change).parameters.items() if p.kind in kinds)


def two_steps(batch: BatchFunction) -> TwoSteps | None:
    """The model itself if it can have a second batch in progress, else None."""
    built = getattr(batch, "built", batch)
    return built if isinstance(built, TwoSteps) else None


def first_sizes(batch: BatchFunction, max_batch_size: int) -> Sequence[int]:
    """Batch sizes to run before any load, the largest first; only the largest unless the model defines more."""
    sizes = getattr(getattr(batch, "built", batch), "first_sizes", None)
    return (max_batch_size,) if sizes is None else sizes(max_batch_size)


def shapes(
    batch: BatchFunction, samples: Iterable[Any], max_batch_size: int, enough: Callable[[], bool]
) -> Sequence[tuple[int, ...]] | None:
    """Numbers of the samples of each batch to run before any load (`DeviceBatches.shapes`); None: shapes are free."""
    found = getattr(getattr(batch, "built", batch), "shapes", None)
    return None if found is None else found(samples, max_batch_size, enough)


def told(batch: BatchFunction) -> tuple[Enforcement, ...]:
    """The model's own records of whether and how its options took effect."""
    tell: Callable[[], tuple[Enforcement, ...]] = getattr(getattr(batch, "built", batch), "told", tuple)
    return tell()
