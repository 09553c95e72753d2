"""A model as three functions, so that the moving of data around it can be done well in one place.

    payloads ── collate ──> tensors ── forward ──> tensors ── split ──> results
               on the CPU             on the device          on the CPU

A loader or a builder gives the three; `fast_batches` runs them, on a CPU as they are, on a GPU with pinned buffers, one
copy each way, copies beside computing and CUDA graphs (`device_batches`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from serve_deployments.endpoint import Payload

if TYPE_CHECKING:
    import torch

Tensors = dict[str, "torch.Tensor"]
"""By name; the first dimension of each is the batch."""


@dataclass(frozen=True)
class Parts:
    """What a model does with a batch.

    Args:
        collate: payloads → tensors on the CPU, in the precision in which they are to travel.
        forward: tensors on the device → tensors on the device. It must neither keep what it is given nor write to it.
        split: tensors on the CPU, of as many rows as `collate` gave → one result for each payload.
        filling: tensors whose second dimension is a length that may grow → what to fill them up with. Only for models
            that mask the filling out; with CUDA graphs it lets similar lengths share a graph.
        longest: the most that such a length may become; None: no limit.
    """

    collate: Callable[[list[Payload]], Tensors]
    forward: Callable[[Tensors], Tensors]
    split: Callable[[Tensors], list[Any]]
    filling: Mapping[str, float] = field(default_factory=dict)
    longest: int | None = None


@runtime_checkable
class TwoSteps(Protocol):
    """A batch function that can have a second batch under way while the first one computes."""

    def begin(self, payloads: list[Payload]) -> Any:
        """Starts a batch and does not wait for the device; always from the same thread."""
        ...

    def finish(self, begun: Any) -> list[Any]:
        """Waits for a batch and returns its results; once for every `begin`, in any thread."""
        ...
