"""Cleaning up the device's memory after a batch that did not fit."""

from __future__ import annotations

import gc
import traceback
from typing import Any


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
    link: BaseException | None = error
    while link is not None:
        traceback.clear_frames(link.__traceback__)
        link = link.__cause__ or link.__context__
    gc.collect()
    if not torch.cuda.is_available():
        return 0
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return int(torch.cuda.memory_reserved())
