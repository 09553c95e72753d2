"""The part of torch that a replica's limits on a GPU use, with a fake GPU behind it."""

from __future__ import annotations

import math
from types import SimpleNamespace

from serve_deployments.fakes.fake_cuda import FakeCuda, FakeTensor
from serve_deployments.fakes.fake_driver import FakeDriver

_WORKSPACE = 8 << 20  # of cuBLAS, for each stream (torch's CUDABlas.cpp has 8 MiB, and 32 from Hopper on)


class FakeTorch:
    """The part of torch that a replica's limits on a GPU use.

    Args:
        cuda: its GPU.
    """

    __version__ = "2.13.0"
    uint8 = "uint8"

    def __init__(self, cuda: FakeCuda | None = None) -> None:
        self.cuda = cuda or FakeCuda()
        self.driver = FakeDriver(self.cuda)
        self._workspaces: dict[int, FakeTensor] = {}
        self._C = SimpleNamespace(_cuda_clearCublasWorkspaces=self._workspaces.clear)

    def ones(self, *shape: int, device: str) -> FakeTensor:
        """A small tensor on the device."""
        return self.cuda.take(4 * math.prod(shape))

    def matmul(self, one: FakeTensor, other: FakeTensor) -> FakeTensor:
        """A product, by cuBLAS, which keeps memory for each stream until that is cleared."""
        self._workspaces.setdefault(self.cuda.current_stream().cuda_stream, self.cuda.take(_WORKSPACE))
        return self.cuda.take(256)

    def empty(self, size_bytes: int, *, dtype: str, device: str) -> FakeTensor:
        """Allocates bytes on the device."""
        if dtype != self.uint8 or not device.startswith("cuda"):
            raise NotImplementedError(f"only bytes on the device, not {dtype} on {device}")
        return self.cuda.take(size_bytes)
