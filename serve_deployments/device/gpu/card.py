"""What NVML says of this process's GPU: it sees the whole card, where a client of MPS sees its part, and processes."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from serve_deployments.device.nvml import opened

_CORES_64 = ((7, 0), (7, 2), (7, 5), (8, 0))
"""Compute capabilities of the cards with 64 CUDA cores in a multiprocessor: Volta, Turing and GA100. Later ones have
128 (NVIDIA's tuning guides and architecture whitepapers: V100, T4, A100; A10, L4, H100, B200)."""

_FIRST_NAMESPACE = "pid:[4026531836]"
"""Namespace of processes of the machine itself (Linux: PROC_PID_INIT_INO). In another one, such as a container's, NVML
names processes by numbers that are not those seen there, or names none."""


def uuid(torch: Any) -> str | None:
    """UUID of the current GPU as NVML spells it; None where torch does not know it, as on ROCm."""
    found = getattr(torch.cuda.get_device_properties(torch.cuda.current_device()), "uuid", None)
    return None if found is None else f"GPU-{found}"


def multiprocessors(torch: Any) -> int | None:
    """Number of multiprocessors of the whole card; None where NVML does not tell."""
    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    each = 64 if (properties.major, properties.minor) in _CORES_64 else 128
    cores = _asked(torch, lambda nvml, handle: int(nvml.nvmlDeviceGetNumGpuCores(handle)))
    return None if cores is None else cores // each


def own_bytes(torch: Any) -> int | None:
    """Bytes that this process has on the card, context and all; None where NVML does not tell."""
    if _namespace() != _FIRST_NAMESPACE:
        return None

    def of_this_process(nvml: Any, handle: Any) -> int | None:
        for each in nvml.nvmlDeviceGetComputeRunningProcesses(handle):
            if each.pid == os.getpid() and each.usedGpuMemory is not None:
                return int(each.usedGpuMemory)
        return None

    return _asked(torch, of_this_process)


def _asked(torch: Any, question: Callable[[Any, Any], int | None]) -> int | None:
    nvml, name = _binding(), uuid(torch)
    handle = None if nvml is None or name is None else opened(nvml, name)
    if handle is None:
        return None
    try:
        return question(nvml, handle)
    except (nvml.NVMLError, AttributeError):  # the second of a binding that is older than the question
        return None
    finally:
        nvml.nvmlShutdown()


def _binding() -> Any:
    try:
        import pynvml
    except ImportError:
        return None
    return pynvml


def _namespace() -> str | None:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return None
