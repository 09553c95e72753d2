"""Models that take the payloads of a batch stacked into one array, as exported programs do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from serve_deployments.endpoint import Payload
from serve_deployments.models.exported import as_taken
from serve_deployments.resources.enforcement import Enforcement


def of_stacked(
    model: Callable[[Any], Any],
    dtype: Any,
    device: str,
    *,
    cuda_graphs: bool,
    takes: str | None = None,
    told: Sequence[Enforcement] = (),
    every_size: bool = False,
) -> Callable[[list[Payload]], list[Any]]:
    """The batch function of a torch module that takes one tensor and returns one, or several of which the first counts.

    Args:
        model: the module.
        dtype: torch dtype to which floating-point input is converted.
        device: device that the module runs on.
        cuda_graphs: see `fast_batches`.
        takes: NumPy's name of the numbers that the module takes, see `as_taken`; None: whatever the payloads have.
        told: see `fast_batches`.
        every_size: see `fast_batches`.
    """
    import torch

    from serve_deployments.batches.batch_parts import Parts, Tensors
    from serve_deployments.batches.fast_batches import fast_batches

    def collate(payloads: list[Payload]) -> Tensors:
        batch = torch.from_numpy(np.stack([as_taken(np.asarray(payload), takes) for payload in payloads]))
        return {"batch": batch.to(dtype) if batch.is_floating_point() else batch}

    def forward(tensors: Tensors) -> Tensors:
        output = model(tensors["batch"])
        return {"rows": output[0] if isinstance(output, (tuple, list)) else output}

    def split(made: Tensors) -> list[Any]:
        rows = made["rows"]
        return list((rows.float() if rows.dtype == torch.bfloat16 else rows).numpy())

    parts = Parts(collate, forward, split)
    return fast_batches(parts, device, cuda_graphs=cuda_graphs, told=told, every_size=every_size)
