"""The device memory of this process: whether its cap holds, and cleaning up after a batch that did not fit."""

from __future__ import annotations

import gc
import traceback
from typing import Any

from serve_deployments.endpoint import is_out_of_memory, origins

_BEYOND = 2 << 20
"""Bytes beyond the cap that are asked for to see whether it holds: the granularity of large allocations in torch's
allocator, whose smaller requests may be served from a block that it has."""


def why_over_cap(fraction: float, torch: Any) -> str | None:
    """What torch's allocator holds beyond a cap, in words; None if it holds to it.

    A cap is looked at when more memory is asked for, never for what a model holds already.

    Args:
        fraction: the cap, as a fraction of the device's memory.
        torch: the torch module (an argument, so that tests need no GPU).
    """
    _, total = torch.cuda.mem_get_info()
    cap, held = int(fraction * total), int(torch.cuda.memory_reserved())
    return f"{_gib(held)} are held, more than the {_gib(cap)} of the cap" if held > cap else None


def why_not_capped(fraction: float, torch: Any) -> str | None:
    """Tries to exceed the cap on this process's memory; None if the device refused it, otherwise why that is not shown.

    What was tried leaves nothing behind. For the arguments see `why_over_cap`.
    """
    torch.cuda.empty_cache()  # what the cache holds would make room for the attempt
    if (why := why_over_cap(fraction, torch)) is not None:
        return why
    free, total = torch.cuda.mem_get_info()
    cap, held = int(fraction * total), int(torch.cuda.memory_reserved())
    if cap >= total:
        return None  # the device itself has no more
    beyond = cap - held + _BEYOND
    if free < beyond:
        return f"only {_gib(free)} are free on the GPU, too little to try to exceed the cap of {_gib(cap)}"
    try:
        torch.empty(beyond, dtype=torch.uint8, device="cuda")
    except Exception as error:
        if not is_out_of_memory(error):
            return f"an attempt to exceed the cap failed otherwise: {type(error).__name__}"
        left = clean_after(error, torch) - held
        return f"an attempt to exceed the cap left {left} bytes on the GPU" if left > 0 else None
    torch.cuda.empty_cache()
    return f"{_gib(beyond)} more than the {_gib(held)} held were not refused, though the cap is {_gib(cap)}"


def clean_after(error: BaseException, torch: Any) -> int:
    """Frees the device memory of a batch that ran out of memory, so that it is available to what follows.

    The exception's traceback refers to the frames, and these to the batch's tensors: as long as the exception is
    referenced, nothing would be freed.

    Args:
        error: the exception of the batch; it keeps its message and line numbers, and loses its frames' variables.
        torch: the torch module (an argument, so that tests need no GPU).

    Returns:
        Bytes that this process keeps on the device: weights, and buffers of batches that did fit.
    """
    for each in origins(error, suppressed=True):
        traceback.clear_frames(each.__traceback__)
    gc.collect()
    if not torch.cuda.is_available():
        return 0
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return int(torch.cuda.memory_reserved())


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / 2**30:.2f} GiB"
