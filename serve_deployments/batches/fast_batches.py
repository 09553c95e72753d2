"""Creates the fastest batch function of a model for its device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from serve_deployments.batches.batch_parts import Parts
from serve_deployments.batches.plain_batches import PlainBatches
from serve_deployments.endpoint import Payload
from serve_deployments.resources.enforcement import Enforcement


def fast_batches(
    parts: Parts,
    device: str = "cpu",
    *,
    cuda_graphs: bool = False,
    told: Sequence[Enforcement] = (),
    every_size: bool = False,
) -> Callable[[list[Payload]], list[Any]]:
    """Creates the batch function of a model; on a GPU one batch is copied while another one computes.

    For your own builders (`model.build` in service.yaml), which take `device` and, if wanted, `cuda_graphs`:

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
        parts: the model, with its weights already on the device.
        device: "cpu" or a CUDA device.
        cuda_graphs: record the model's kernels once for each shape of a batch and replay them. Batches are padded to a
            few sizes with copies of a row. A model that cannot be recorded runs without graphs, and the trial says so.
        told: further records for the trial's facts.
        every_size: whether the model has a one-time cost for each new batch size, as compiled ones do; a replica then
            runs the usual sizes before any load. With CUDA graphs it does so anyway.
    """
    if not device.startswith("cuda"):
        nothing = Enforcement("cuda_graphs", "True", False, f"CUDA graphs are not available on {device!r}")
        return PlainBatches(parts, [*told, nothing] if cuda_graphs else told, every_size=every_size)
    from serve_deployments.batches.accelerator import Cuda
    from serve_deployments.batches.device_batches import DeviceBatches

    return DeviceBatches(parts, Cuda(device), cuda_graphs=cuda_graphs, told=told, every_size=every_size)
