"""An emulated GPU that several processes of one machine share: each tells the others until when its batch runs.

The system's monotonic clock is the same in all of them. What a process has told ends by itself, so one that died is not
taken for busy.
"""

from __future__ import annotations

import os
import stat
import struct
import sys
import tempfile
import uuid
import weakref
from contextlib import suppress
from pathlib import Path

_TOLD = struct.Struct("dd")
"""Until when a process's batch runs, and the memory bandwidth that it asks for meanwhile."""


class SharedCard:
    """The place of one process on an emulated GPU.

    Args:
        folder: the GPU's folder, the same for all processes on it.
        asks: memory bandwidth that a batch of this process asks for, in units of all of it.
    """

    def __init__(self, folder: Path, asks: float) -> None:
        self._folder, self._asks = folder, asks
        self._own = folder / uuid.uuid4().hex
        self._file = os.open(self._own, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        self._end = weakref.finalize(self, _forget, self._own, self._file)
        self.busy_until(0.0)

    def busy_until(self, time_s: float) -> None:
        """Tell the others until when the batch of this process runs."""
        os.pwrite(self._file, _TOLD.pack(time_s, self._asks), 0)

    def others_ask(self, now_s: float) -> float:
        """The memory bandwidth that the batches of other processes ask for now."""
        return sum(asks for until_s, asks in map(_read, self._others()) if until_s > now_s)

    def _others(self) -> list[Path]:
        return [each for each in self._folder.iterdir() if each != self._own]


def card_here(asks: float) -> SharedCard | None:
    """The place of this process on the emulated GPU that Ray gave it; None outside of Ray, or without a GPU."""
    ray, visible = sys.modules.get("ray"), os.environ.get("CUDA_VISIBLE_DEVICES")
    if ray is None or not visible or not ray.is_initialized():
        return None
    # Only its user's: another's could neither be written to nor believed.
    base = Path(tempfile.gettempdir(), f"raytune-infer-emulated-{os.getuid()}")
    base.mkdir(mode=0o700, exist_ok=True)
    found = base.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(f"{base} must be a folder of this user alone; remove it, so that it is made anew")
    # Emulated nodes share one machine, so the card is one of its node.
    folder = base / f"{ray.get_runtime_context().get_node_id()}-{visible.replace('/', '-')}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return SharedCard(folder, asks)


def _read(told: Path) -> tuple[float, float]:
    with suppress(OSError, struct.error):  # its process has ended, or has not told anything yet
        until_s, asks = _TOLD.unpack(told.read_bytes())
        return until_s, asks
    return 0.0, 0.0


def _forget(own: Path, file: int) -> None:
    with suppress(OSError):
        os.close(file)
    own.unlink(missing_ok=True)
