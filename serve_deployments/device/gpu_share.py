"""A share of a GPU's multiprocessors without a daemon: a green context of CUDA, through torch.

A green context is a part of the multiprocessors; what is put into its stream runs there and nowhere else. It bounds
this process, not its neighbours: without MPS two processes on one GPU take turns, each on its own part while the other
stands still. So a replica that is measured alone is held to its share, and two at once need MPS.
"""

from __future__ import annotations

import math
from typing import Any

_SIZES = {6: (1, 1), 7: (2, 2), 8: (4, 2)}
_NEWER = (8, 8)
"""Compute capability's first digit → the smallest part and its steps, in multiprocessors (CUDA Driver API 13.0, "Green
Contexts"); from 9.0 on 8 and 8."""

_held: dict[float, tuple[Any, str]] = {}
"""Share → its context and how it was made. A replica has its share as long as its process lives, and torch destroys a
context with its object; asked again (a warm replica is changed), the thread has it already."""


class CannotConfine(RuntimeError):
    """No green context can be made here; the message says why."""


def multiprocessors(share: float, total: int, capability: int) -> int:
    """The part that comes nearest to a share; of two as near the smaller.

    Args:
        share: of the GPU, above 0, below 1.
        total: multiprocessors that it has.
        capability: first digit of its compute capability.
    """
    least, step = _SIZES.get(capability, _NEWER)
    return min(total, max(least, step * math.ceil(share * total / step - 0.5)))


def confine(share: float, torch: Any) -> str:
    """Hold what this thread computes from now on to a share of the multiprocessors.

    Args:
        share: of the GPU, above 0, below 1.
        torch: the torch module (handed in, so that tests need no GPU).

    Returns:
        How, and how many multiprocessors: they come in steps.

    Raises:
        CannotConfine: this torch, driver or GPU cannot.
    """
    if share in _held:
        return _held[share][1]
    green = getattr(torch.cuda, "green_contexts", None)
    if green is None or not getattr(green, "SUPPORTED", True) or not hasattr(green.GreenContext, "Stream"):
        raise CannotConfine(f"torch {torch.__version__} has no green contexts with streams (2.11 for CUDA 13 has)")
    device = torch.cuda.get_device_properties(torch.cuda.current_device())
    count = multiprocessors(share, device.multi_processor_count, device.major)
    try:
        torch.cuda.synchronize()  # makes the context that the green one is a part of
        context = green.GreenContext.create(num_sms=count, device_id=torch.cuda.current_device())
        # Its stream, not `set_context`: that is going to be deprecated, and makes the null stream current, which
        # cannot overlap with copies.
        torch.cuda.set_stream(context.Stream())
    except (RuntimeError, AttributeError, TypeError) as error:  # an old driver; a build against an old CUDA
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise CannotConfine(f"no green context can be made: {first}") from error
    total, percent = device.multi_processor_count, 100 * count / device.multi_processor_count
    how = f"green context, {count} of {total} multiprocessors ({percent:.0f} %) for the model's thread"
    _held[share] = context, how
    return how
