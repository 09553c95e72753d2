"""Memory that a process has on a GPU outside of torch's allocator: CUDA's context and the kernels of its libraries.

torch's cap leaves it out, so that four processes of a quarter each would not fit on one GPU: it is taken off the cap.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

from serve_deployments.device.core_locks import BadFolder, lock_folder, prepared, try_lock
from serve_deployments.device.gpu import card
from serve_deployments.settings import Settings

GIB = 2**30

LEAST_BYTES = int(0.4 * GIB)
"""What CUDA takes at least: nvidia-smi shows 0.3 to 0.5 GiB for an idle process of torch on Turing and Ampere cards.
Our choice where the device tells less, as a context may be there before it is asked, or nothing."""

LOCK_WAIT_S = 30.0
"""How long a replica waits for others that find out the same. Our choice: a context and cuBLAS take a few seconds, and
a card has up to seven neighbours that start at once; a lock that is held for longer is somebody else's."""

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
        with _alone_on_card(card.uuid(torch)):
            _found = max(_taken_bytes(torch), LEAST_BYTES)
    return _found


def _taken_bytes(torch: Any) -> int:
    """What the device has for this process after a product, by NVML's books of it, else by what all have more."""
    before = _used(torch)
    ones = torch.ones(8, 8, device="cuda")
    torch.matmul(ones, ones)
    torch.cuda.synchronize()
    own, after, reserved = card.own_bytes(torch), _used(torch), int(torch.cuda.memory_reserved())
    del ones
    _give_back(torch)
    if own is not None:
        return own - reserved
    return 0 if before is None or after is None else after - before - reserved


@contextmanager
def _alone_on_card(uuid: str | None) -> Iterator[None]:
    """Keeps other replicas from taking their first memory of the card meanwhile, as it would count as this process's.

    Without a lock within `LOCK_WAIT_S`, or where there can be none, it goes on.
    """
    lock, ends_s = None, time.monotonic() + LOCK_WAIT_S
    with suppress(BadFolder):
        while uuid is not None and (lock := try_lock(prepared(lock_folder()), uuid)) is None:
            if time.monotonic() >= ends_s:
                break
            time.sleep(0.05)
    with lock or nullcontext():
        yield


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
