"""Where a converted model's bytes come to lie: mapped from files, or in memory of its own on the CPU or a GPU."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import torch

from serve_deployments.batches.accelerator import Accelerator
from serve_deployments.transform.registered.registered_model import StoredBlob

STAGE_BYTES = 16 << 20
"""Size of each of the two page-locked buffers: a copy of 16 MiB takes 1 ms over 16 lanes of PCIe 4, a hundred times as
long as what it costs to start one."""


class Memory(Protocol):
    """What holds the bytes of models."""

    @property
    def device(self) -> str:
        """Torch's name of the device that they lie on."""
        ...

    def take(self, folder: Path, blobs: Sequence[StoredBlob]) -> list[torch.UntypedStorage]:
        """Memory with these bytes, a storage for each; nothing of it is shared with any other model."""
        ...

    def fill(self, folder: Path, blobs: Sequence[StoredBlob], into: Sequence[torch.UntypedStorage]) -> None:
        """Copies bytes into memory that is there already."""
        ...


class Mapped:
    """Files mapped into this process: pages come when they are used, and are copied when they are written to."""

    device = "cpu"

    def take(self, folder: Path, blobs: Sequence[StoredBlob]) -> list[torch.UntypedStorage]:
        """See `Memory`; each call has mappings of its own."""
        return [_bytes(maps, blob) for maps in [_maps(folder, blobs)] for blob in blobs]

    def fill(self, folder: Path, blobs: Sequence[StoredBlob], into: Sequence[torch.UntypedStorage]) -> None:
        """See `Memory`."""
        _copy(self.take(folder, blobs), into)


class Private:
    """Memory of torch's own on the CPU, for a model whose addresses are to stay when it is converted."""

    device = "cpu"

    def take(self, folder: Path, blobs: Sequence[StoredBlob]) -> list[torch.UntypedStorage]:
        """See `Memory`."""
        made = [torch.empty(blob.size_bytes, dtype=torch.uint8).untyped_storage() for blob in blobs]
        self.fill(folder, blobs, made)
        return made

    def fill(self, folder: Path, blobs: Sequence[StoredBlob], into: Sequence[torch.UntypedStorage]) -> None:
        """See `Memory`."""
        _copy(Mapped().take(folder, blobs), into)


class OnDevice:
    """Memory of an accelerator, filled by way of two page-locked buffers in turn.

    While the device copies from one, the CPU reads the next part into the other. All copies are done when a call comes
    back, so that whatever computes next, in any stream, finds them.

    Args:
        accelerator: the device.
        device: torch's name of it.
        stage_bytes: size of a buffer.
    """

    def __init__(self, accelerator: Accelerator, device: str = "cuda", stage_bytes: int = STAGE_BYTES) -> None:
        self.device = device
        self._accelerator, self._stage_bytes = accelerator, stage_bytes
        self._stream = accelerator.copy_stream()
        self._stages = [(accelerator.staging(stage_bytes), accelerator.event()) for _ in range(2)]

    def take(self, folder: Path, blobs: Sequence[StoredBlob]) -> list[torch.UntypedStorage]:
        """See `Memory`."""
        with self._accelerator.on(self._stream):
            made = [self._accelerator.memory(blob.size_bytes).untyped_storage() for blob in blobs]
        self.fill(folder, blobs, made)
        return made

    def fill(self, folder: Path, blobs: Sequence[StoredBlob], into: Sequence[torch.UntypedStorage]) -> None:
        """See `Memory`."""
        turn = 0
        used = [False, False]
        for source, target in zip(Mapped().take(folder, blobs), into, strict=True):
            given, taken = _view(source), _view(target)
            for begin in range(0, given.numel(), self._stage_bytes):
                stage, event = self._stages[turn]
                part = given[begin : begin + self._stage_bytes]
                if used[turn]:
                    event.synchronize()  # the device may still read what was in this buffer
                stage[: part.numel()].copy_(part)
                with self._accelerator.on(self._stream):
                    self._accelerator.copy(taken[begin : begin + part.numel()], stage[: part.numel()])
                    self._stream.record_event(event)
                used[turn] = True
                turn = 1 - turn
        self._stream.synchronize()


def _maps(folder: Path, blobs: Iterable[StoredBlob]) -> Mapping[str, mmap.mmap]:
    found = {}
    for file in sorted({blob.file for blob in blobs if blob.size_bytes}):
        with (folder / file).open("rb") as opened:
            # A copy on write: nobody's writing reaches the file, or another model that has mapped it.
            found[file] = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_COPY)
    return found


def _bytes(maps: Mapping[str, mmap.mmap], blob: StoredBlob) -> torch.UntypedStorage:
    if not blob.size_bytes:
        return torch.empty(0, dtype=torch.uint8).untyped_storage()
    return torch.frombuffer(
        maps[blob.file], dtype=torch.uint8, count=blob.size_bytes, offset=blob.offset
    ).untyped_storage()


def _copy(sources: Sequence[torch.UntypedStorage], into: Sequence[torch.UntypedStorage]) -> None:
    for source, target in zip(sources, into, strict=True):
        _view(target).copy_(_view(source))


def _view(storage: torch.UntypedStorage) -> torch.Tensor:
    return torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)
