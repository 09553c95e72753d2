"""The part of CUDA's driver that a replica's limits use, with a fake GPU behind it; it refuses what that refuses."""

from __future__ import annotations

import ctypes
from typing import Any

from serve_deployments.fakes.fake_cuda import FakeCuda


class FakeDriver:
    """CUDA's driver library as ctypes calls it, by the books of a fake GPU.

    Args:
        cuda: the GPU.
    """

    _INVALID_VALUE, _NOT_INITIALIZED, _INVALID_DEVICE = 1, 3, 101  # CUDA_ERROR_…
    _MPS_ENABLED = 133  # CU_DEVICE_ATTRIBUTE_MPS_ENABLED

    def __init__(self, cuda: FakeCuda) -> None:
        self._cuda, self._begun = cuda, False
        self._green: dict[int, int] = {}

    def cuInit(self, flags: int) -> int:
        """Begins; flags must be 0."""
        self._begun = flags == 0
        return 0 if self._begun else self._INVALID_VALUE

    def cuDeviceGet(self, handle: Any, ordinal: int) -> int:
        """Writes the handle of a GPU, which is not its number."""
        if not self._begun:
            return self._NOT_INITIALIZED
        if ordinal != self._cuda.device:
            return self._INVALID_DEVICE
        handle._obj.value = 10 + ordinal
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: int, handle: Any) -> int:
        """Writes an attribute of a GPU; one that the driver is too old to know is refused."""
        if handle.value < 10:
            return self._INVALID_DEVICE
        if attribute != self._MPS_ENABLED or self._cuda.mps is None:
            return self._INVALID_VALUE
        value._obj.value = int(self._cuda.mps)
        return 0

    def cuStreamGetGreenCtx(self, stream: ctypes.c_void_p, green: Any) -> int:
        """Writes the stream's green context, empty for another stream; for the default stream, that which is current.

        Of the default stream the driver tells what is current in the calling thread ("Green Contexts" of CUDA Driver
        API 13.0), whatever other threads compute in it.
        """
        found, current = self._cuda.streams.get(stream.value or 0), self._cuda.current_green
        if found is None:
            return self._INVALID_VALUE
        if found.cuda_stream == 0:
            green._obj.value = self._named(current.multiprocessors) if current else None
        else:
            green._obj.value = self._named(found.multiprocessors) if found.green else None
        return 0

    def cuGreenCtxGetDevResource(self, green: ctypes.c_void_p, resource: Any, kind: int) -> int:
        """Writes the number of multiprocessors where cuda.h has it."""
        count = self._green.get(green.value or 0)
        if count is None or kind != 1:
            return self._INVALID_VALUE
        ctypes.c_uint.from_buffer(resource._obj, 96).value = count
        return 0

    def _named(self, multiprocessors: int) -> int:
        """A handle of a green context of so many multiprocessors, which is no stream's."""
        handle = 0x900000 + multiprocessors
        self._green[handle] = multiprocessors
        return handle
