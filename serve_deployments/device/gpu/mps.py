"""Whether this process's work on a GPU goes through CUDA's Multi-Process Service (MPS), as the driver itself says.

Every replica asks for itself: nodes of one cluster may differ, and a daemon may have ended since the study began.
"""

from __future__ import annotations

import ctypes

from serve_deployments.device.gpu import driver

_MPS_ENABLED = 133
"""`CU_DEVICE_ATTRIBUTE_MPS_ENABLED`: contexts on the device are shared through MPS (CUDA Driver API,
CUdevice_attribute). A driver that is too old to know it has no green contexts either."""

LEAST_CAPABILITY = 7
"""First digit of the compute capability from which on MPS limits a client to a percentage of the threads: Volta (CUDA
MPS guide, "Volta MPS Execution Resource Provisioning")."""


def under_mps(device: int) -> bool:
    """Whether this process is a client of MPS on a GPU; False where the driver does not tell.

    Args:
        device: number of the GPU among those that the process sees.
    """
    handle, enabled = ctypes.c_int(0), ctypes.c_int(0)
    try:
        cuda = driver.library()
        failed = (
            cuda.cuInit(0)
            or cuda.cuDeviceGet(ctypes.byref(handle), device)
            or cuda.cuDeviceGetAttribute(ctypes.byref(enabled), _MPS_ENABLED, handle)
        )
    except (OSError, AttributeError):  # there is no driver
        return False
    return not failed and enabled.value == 1
