"""Limits a thread to a share of a GPU's multiprocessors without a daemon, by a green context of CUDA, through torch.

A green context is a subset of the multiprocessors; work in its stream runs only there. It limits this process, not
others: without MPS two processes on one GPU take turns, each on its own subset while the other waits. So a replica that
is measured alone is held to its share, and two at once need MPS.
"""

from __future__ import annotations

import math
from typing import Any

_SIZES = {6: (1, 1), 7: (2, 2), 8: (4, 2)}
_NEWER = (8, 8)
"""First digit of the compute capability → smallest size and step of a green context, in multiprocessors (CUDA Driver
API 13.0, "Green Contexts"); `_NEWER` from 9.0 on."""

_held: dict[float, tuple[Any, str]] = {}
"""Share → its context and description. A replica has its share as long as its process lives, but torch destroys a
context with its object, so it is kept here; when a warm replica is changed, the thread has its context already."""


class CannotConfine(RuntimeError):
    """No green context can be created here; the message says why."""


def multiprocessors(share: float, total: int, capability: int) -> int:
    """The possible number of multiprocessors that is nearest to a share; of two equally near, the smaller.

    Args:
        share: fraction of the GPU, above 0 and below 1.
        total: number of multiprocessors of the GPU.
        capability: first digit of its compute capability.
    """
    least, step = _SIZES.get(capability, _NEWER)
    return min(total, max(least, step * math.ceil(share * total / step - 0.5)))


def confine(share: float, torch: Any) -> str:
    """Limits the calling thread's further GPU work to a share of the multiprocessors.

    Args:
        share: fraction of the GPU, above 0 and below 1.
        torch: the torch module (an argument, so that tests need no GPU).

    Returns:
        A description of the means and the number of multiprocessors, which is rounded to possible sizes.

    Raises:
        CannotConfine: this version of torch, driver or GPU does not support it.
    """
    if share in _held:
        return _held[share][1]
    green = getattr(torch.cuda, "green_contexts", None)
    if green is None or not getattr(green, "SUPPORTED", True) or not hasattr(green.GreenContext, "Stream"):
        raise CannotConfine(f"torch {torch.__version__} has no green contexts with streams; 2.11 for CUDA 13 has them")
    device = torch.cuda.get_device_properties(torch.cuda.current_device())
    count = multiprocessors(share, device.multi_processor_count, device.major)
    try:
        torch.cuda.synchronize()  # creates the context that the green one is a part of
        context = green.GreenContext.create(num_sms=count, device_id=torch.cuda.current_device())
        # Its stream, not `set_context`: that will be deprecated, and makes the null stream current, which cannot
        # overlap with copies.
        torch.cuda.set_stream(context.Stream())
    except (RuntimeError, AttributeError, TypeError) as error:  # an old driver, or a build for an old CUDA
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise CannotConfine(f"no green context can be made: {first}") from error
    total, percent = device.multi_processor_count, 100 * count / device.multi_processor_count
    how = f"green context, {count} of {total} multiprocessors ({percent:.0f} %) for the model's thread"
    _held[share] = context, how
    return how
