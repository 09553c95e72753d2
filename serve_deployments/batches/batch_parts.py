"""A model split into three functions, so that data transfers between them can be optimised in one place.

    payloads ── collate ──> tensors ── forward ──> tensors ── split ──> results
               on the CPU             on the device          on the CPU

A loader or a builder provides the three functions; `fast_batches` runs them: directly on a CPU; on a GPU with pinned
buffers, one copy each way, copies that overlap with computing, and CUDA graphs (`device_batches`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from serve_deployments.endpoint import Payload

if TYPE_CHECKING:
    import torch

Tensors = dict[str, "torch.Tensor"]
"""Name → tensor; the first dimension of each is the batch."""

Forward = Callable[[Tensors], Tensors]
Split = Callable[[Tensors], list[Any]]


@dataclass(frozen=True)
class Parts:
    """The three functions of a model.

    Args:
        collate: payloads → tensors on the CPU, in the precision in which they are to be copied.
        forward: tensors on the device → tensors on the device. It must neither keep its inputs nor write to them.
        split: tensors on the CPU, with as many rows as `collate` returned → one result for each payload.
        filling: name of a tensor whose second dimension is a length that may be padded → value to pad with. Only for
            models that mask the padding out; with CUDA graphs it lets similar lengths share a graph.
        longest: largest length to pad to; None: no limit.
    """

    collate: Callable[[list[Payload]], Tensors]
    forward: Forward
    split: Split
    filling: Mapping[str, float] = field(default_factory=dict)
    longest: int | None = None


@runtime_checkable
class TwoSteps(Protocol):
    """A batch function that can have a second batch in progress while the first one computes."""

    def begin(self, payloads: list[Payload]) -> Any:
        """Starts a batch and does not wait for the device; always called from the same thread."""
        ...

    def finish(self, begun: Any) -> list[Any]:
        """Waits for a batch and returns its results; called once for every `begin`, from any thread."""
        ...
