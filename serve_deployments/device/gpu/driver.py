"""Asks CUDA's driver, through ctypes, on how many multiprocessors the work of a stream can run."""

from __future__ import annotations

import ctypes
from typing import Any

_SM = 1
"""CU_DEV_RESOURCE_TYPE_SM (CUDA Driver API 13.0, "Green Contexts")."""

_SM_COUNT_AT = 96
"""Offset of `sm.smCount` in a CUdevResource: 4 bytes of type and 92 of padding come before (cuda.h since CUDA 12.4)."""

_ROOM = 512
"""Bytes for a CUdevResource, of which it takes 144 in CUDA 12; later versions may append fields."""


class CannotAsk(RuntimeError):
    """The driver does not say it; the message says why."""


def library() -> Any:
    """CUDA's driver library of this machine; raises OSError if there is none."""
    return ctypes.CDLL("libcuda.so.1")


def multiprocessors_of(stream: int) -> int:
    """Number of multiprocessors on which the work of a green context's stream can run.

    Args:
        stream: the stream's handle, `torch.cuda.Stream.cuda_stream`.

    Raises:
        CannotAsk: there is no driver, it is too old, or the stream belongs to no green context: the work of such a
            stream can run on all of them.
    """
    green = ctypes.c_void_p()
    resource = (ctypes.c_ubyte * _ROOM)()
    try:
        driver = library()
        failed = driver.cuStreamGetGreenCtx(ctypes.c_void_p(stream), ctypes.byref(green))
        if not failed and green.value:
            failed = driver.cuGreenCtxGetDevResource(green, ctypes.byref(resource), _SM)
    except (OSError, AttributeError) as error:
        raise CannotAsk(f"CUDA's driver cannot be asked: {error}") from error
    if failed:
        raise CannotAsk(f"CUDA's driver answered with error {failed}")
    if not green.value:
        raise CannotAsk("the stream belongs to no green context")
    return ctypes.c_uint.from_buffer(resource, _SM_COUNT_AT).value
