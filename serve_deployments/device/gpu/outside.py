"""Memory that a process has on a GPU outside of torch's allocator: CUDA's context and the kernels of its libraries.

torch's cap leaves it out, so that four processes of a quarter each would not fit on one GPU: it is taken off the cap.
"""

from __future__ import annotations

from typing import Any

from serve_deployments.settings import Settings

GIB = 2**30

LEAST_BYTES = int(0.4 * GIB)
"""What CUDA takes at least: nvidia-smi shows 0.3 to 0.5 GiB for an idle process of torch on Turing and Ampere cards.
Our choice where the device tells less, as a context may be there before it is asked, or nothing."""

_found: int | None = None
"""What was found when this process began to use its GPU: later its own memory would be in the way."""


def cap_fraction(settings: Settings, torch: Any) -> float:
    """The part of a GPU's memory that torch's allocator may take under `gpu_memory`, which caps the whole process.

    Raises:
        MemoryError: the cap is less than CUDA itself takes.
    """
    outside = outside_bytes(torch)
    _, total = torch.cuda.mem_get_info()
    allowed = settings.gpu_memory * total
    if allowed <= outside:
        raise MemoryError(
            f"gpu_memory {settings.gpu_memory:g} of {total / GIB:.3g} GiB is {allowed / GIB:.2f} GiB, and CUDA with "
            f"its libraries takes {outside / GIB:.2f} GiB before any model; raise gpu_memory"
        )
    return (allowed - outside) / total


def outside_bytes(torch: Any) -> int:
    """Bytes that CUDA has on the device for this process: the context and cuBLAS, which each model loads."""
    global _found
    if _found is None:
        before = _used(torch)
        ones = torch.ones(8, 8, device="cuda")
        torch.matmul(ones, ones)
        torch.cuda.synchronize()
        after = _used(torch)
        took = 0 if before is None or after is None else after - before - int(torch.cuda.memory_reserved())
        _found = max(took, LEAST_BYTES)
        del ones
        _give_back(torch)
    return _found


def _give_back(torch: Any) -> None:
    """Frees what the product took: cuBLAS keeps memory for each stream, here for one outside of any share."""
    clear = getattr(getattr(torch, "_C", None), "_cuda_clearCublasWorkspaces", None)
    if clear is not None:
        clear()
    torch.cuda.empty_cache()


def _used(torch: Any) -> int | None:
    """Bytes in use on the device, by all processes; None where it does not tell (no NVML, or a slice by MIG)."""
    try:
        return int(torch.cuda.device_memory_used())
    except Exception:  # torch raises what NVML's binding does, which may be missing
        return None
