"""After a batch that did not fit: the device as it was before."""

from __future__ import annotations

import gc
import traceback
from typing import Any


def clean_after(error: BaseException, torch: Any) -> int:
    """Give back what a batch took that ran out of memory, so that what comes next has all of the device's memory.

    The exception's traceback holds the frames, and they the batch's tensors: as long as somebody reports the error,
    nothing would be free.

    Args:
        error: why the batch failed; it keeps its message and lines, and loses its frames' variables.
        torch: the torch module (handed in, so that tests need no GPU).

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
