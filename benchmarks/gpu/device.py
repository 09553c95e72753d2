"""What the GPUs of this machine are: by NVML, by the catalogue, and whether torch has kernels for them."""

from __future__ import annotations

from benchmarks.recording.sections import markdown
from cluster.fakes import FakeDevice, FakeNvml
from cluster.gpu_names import gpu_names
from cluster.nvml import Device, NodeGpus, devices, reading
from cluster.torch_build import TorchBuild

DRY = NodeGpus(
    devices(
        FakeNvml(
            [
                FakeDevice("NVIDIA H100 NVL", 93.6, capability=(9, 0)),
                FakeDevice("NVIDIA A100-SXM4-40GB", 39.4, mig=True, capability=(8, 0),
                           slices=(FakeDevice("NVIDIA A100-SXM4-40GB MIG 1g.5gb", 4.75),)),
                FakeDevice("Tesla V100-SXM2-16GB", 15.75, capability=(7, 0)),
            ]
        )
    ),
    has_mps=False,
    torch=TorchBuild("2.13.0+cu130", ("sm_75", "sm_80", "sm_90", "sm_100")),
)  # fmt: skip
"""The GPUs of a machine that is not there, for a dry run."""


def section(there: NodeGpus | None = None) -> str:
    """The text on each GPU, or slice of one: what the catalogue takes it for, and what speaks against it."""
    there = there or reading()
    header = ["product", "catalogue", "memory, GiB", "of the catalogue's", "compute capability", "torch"]
    rows = [_row(device, there.torch) for device in there.devices]
    mps = "runs" if there.has_mps else "does not run"
    return f"### What the GPUs are\nAs NVML says; MPS {mps}.\n\n{markdown(header, rows)}"


def _row(device: Device, torch: TorchBuild | None) -> list[str]:
    card = gpu_names.known(device.name)
    of_card = "–" if card is None else f"{device.memory_gib / card.memory_gib:.3f}"
    capability = "–" if device.capability is None else "{}.{}".format(*device.capability)
    why = None if torch is None or device.capability is None else torch.why_not(device.capability)
    named = "NOT in the catalogue" if card is None else card.name
    return [device.name, named, f"{device.memory_gib:.2f}", of_card, capability, why or "has kernels"]
