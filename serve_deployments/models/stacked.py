"""Models that take one array of a batch's payloads, stacked: what files of exported programs hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from serve_deployments.endpoint import Payload
from serve_deployments.enforcement import Enforcement


def stacked(payloads: list[Payload]) -> np.ndarray:
    """`[batch, ...]`; numbers of Python become what models are trained in, not double precision."""
    batch = np.stack([np.asarray(payload) for payload in payloads])
    return batch.astype(np.float32) if batch.dtype == np.float64 else batch


def of_stacked(
    model: Callable[[Any], Any],
    dtype: Any,
    device: str,
    *,
    cuda_graphs: bool,
    told: Sequence[Enforcement] = (),
    every_size: bool = False,
) -> Callable[[list[Payload]], list[Any]]:
    """Batches of a torch module that takes one tensor and returns one, or several of which the first counts.

    Args:
        model: the module.
        dtype: torch's, of floating-point input.
        device: where it runs.
        cuda_graphs: see `fast_batches`, as for `told` and `every_size`.
        told: see there.
        every_size: see there.
    """
    import torch

    from serve_deployments.batches.batch_parts import Parts, Tensors
    from serve_deployments.batches.fast_batches import fast_batches

    def collate(payloads: list[Payload]) -> Tensors:
        batch = torch.from_numpy(stacked(payloads))
        return {"batch": batch.to(dtype) if batch.is_floating_point() else batch}

    def forward(tensors: Tensors) -> Tensors:
        output = model(tensors["batch"])
        return {"rows": output[0] if isinstance(output, (tuple, list)) else output}

    def split(made: Tensors) -> list[Any]:
        rows = made["rows"]
        return list((rows.float() if rows.dtype == torch.bfloat16 else rows).numpy())

    parts = Parts(collate, forward, split)
    return fast_batches(parts, device, cuda_graphs=cuda_graphs, told=told, every_size=every_size)
