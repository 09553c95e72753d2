"""Opens NVML for one GPU by its UUID, as CUDA numbers only the GPUs in CUDA_VISIBLE_DEVICES and NVML all."""

from __future__ import annotations

from typing import Any


def opened(nvml: Any, uuid: str) -> Any:
    """Initialises NVML and returns its handle of a GPU; None, with NVML shut down, without a driver or such a GPU."""
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return None
    try:
        return nvml.nvmlDeviceGetHandleByUUID(uuid)
    except nvml.NVMLError:
        nvml.nvmlShutdown()
        return None
