"""What batches keep on a device between calls, so that it can be given up, however a model wraps its batches.

They are found by their thread: batches on a device are made in the thread that runs them, which is one model's.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable
from typing import Protocol


class Keeper(Protocol):
    """Batches with buffers and CUDA graphs."""

    def give_up(self) -> None:
        """Frees the buffers and graphs; they are made again when they are needed. No batch may be in progress."""
        ...

    def record(self, on: bool) -> None:
        """Whether CUDA graphs are recorded of shapes that are seen for the first time."""
        ...

    @property
    def spoilt(self) -> str | None:
        """Why this process must take on no other settings and models; None if it may."""
        ...


class _Here(threading.local):
    def __init__(self) -> None:
        self.keepers: weakref.WeakSet[Keeper] = weakref.WeakSet()


_here = _Here()


def add(keeper: Keeper) -> None:
    """Adds batches of this thread, which are left out again once nobody refers to them."""
    _here.keepers.add(keeper)


def of_this_thread() -> weakref.WeakSet[Keeper]:
    """The batches of this thread, now and later."""
    return _here.keepers


def give_up_all() -> bool:
    """Frees all buffers and CUDA graphs of this thread's batches; returns whether there were any batches."""
    keepers = list(_here.keepers)
    for keeper in keepers:
        keeper.give_up()
    return bool(keepers)


def record_all(on: bool) -> None:
    """Whether CUDA graphs of this thread's batches are recorded from now on."""
    for keeper in list(_here.keepers):
        keeper.record(on)


def why_spoilt(keepers: Iterable[Keeper]) -> str | None:
    """Why the process of these batches must take on no other settings and models; None if it may."""
    return next((keeper.spoilt for keeper in list(keepers) if keeper.spoilt is not None), None)
