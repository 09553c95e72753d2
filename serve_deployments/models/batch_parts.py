"""A model as three functions, so that the moving of data around it can be done well in one place.

    payloads ── collate ──> tensors ── forward ──> tensors ── split ──> results
               on the CPU             on the device          on the CPU

A loader or a builder gives the three; `fast_batches` runs them, on a CPU as they are, on a GPU with pinned buffers, one
copy each way, copies beside computing and CUDA graphs (`device_batches`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from serve_deployments.device.limits import Enforcement
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


class PlainBatches:
    """The three functions one after the other, where nothing has to be moved.

    Args:
        parts: the model.
        told: what there is to say about what was asked for.
        every_size: see `fast_batches`.
    """

    def __init__(self, parts: Parts, told: Sequence[Enforcement] = (), *, every_size: bool = False) -> None:
        self.parts = parts
        self._told = tuple(told)
        self._every_size = every_size

    def __call__(self, payloads: list[Payload]) -> list[Any]:
        """One batch."""
        import torch

        with torch.inference_mode():
            return self.parts.split(self.parts.forward(self.parts.collate(payloads)))

    def first_sizes(self, max_batch_size: int) -> Sequence[int]:
        """Batch sizes to run before any load comes, the largest first."""
        return first_sizes(max_batch_size, every_size=self._every_size)

    def told(self) -> tuple[Enforcement, ...]:
        """What became of what was asked for."""
        return self._told


def first_sizes(max_batch_size: int, *, every_size: bool) -> Sequence[int]:
    """The sizes that a replica runs first, the largest first: what memory it takes, and what a size pays only once.

    Args:
        max_batch_size: the largest.
        every_size: all that batches can be filled up to, not the largest alone.
    """
    from serve_deployments.models.packing import buckets_up_to

    if not every_size:
        return (max_batch_size,)
    return tuple(dict.fromkeys(min(size, max_batch_size) for size in buckets_up_to(max_batch_size)))


def fast_batches(
    parts: Parts,
    device: str = "cpu",
    *,
    cuda_graphs: bool = False,
    told: Sequence[Enforcement] = (),
    every_size: bool = False,
) -> Callable[[list[Payload]], list[Any]]:
    """The batch function of a model; on a GPU one batch is copied while another one computes.

    For builders of your own (`model.build` in service.yaml), which take `device` and, where wanted, `cuda_graphs`:

        def build(device="cpu", cuda_graphs=False):
            model = Net().to(device).eval()
            return fast_batches(
                Parts(
                    collate=lambda rows: {"x": torch.tensor(rows, dtype=torch.float32)},
                    forward=lambda tensors: {"y": model(tensors["x"])},
                    split=lambda tensors: tensors["y"].tolist(),
                ),
                device,
                cuda_graphs=cuda_graphs,
            )

    Args:
        parts: the model, its weights on the device already.
        device: "cpu" or a CUDA device.
        cuda_graphs: record the model's kernels once for each shape of a batch and replay them. Batches are filled up to
            a few sizes with copies of a row. A model that cannot be recorded runs as without, and the trial says so.
        told: more to say in the trial's facts.
        every_size: the model pays something when it first sees a size, as compiled ones do; then a replica runs
            the usual sizes before any load comes. With CUDA graphs it does so anyway.
    """
    if not device.startswith("cuda"):
        nothing = Enforcement("cuda_graphs", "True", False, f"there are none on {device!r}")
        return PlainBatches(parts, [*told, nothing] if cuda_graphs else told, every_size=every_size)
    from serve_deployments.device.accelerator import Cuda
    from serve_deployments.device.device_batches import DeviceBatches

    return DeviceBatches(parts, Cuda(device), cuda_graphs=cuda_graphs, told=told, every_size=every_size)
