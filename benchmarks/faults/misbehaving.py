"""A model that answers in milliseconds and, where its configuration says so, misbehaves in one of the usual ways."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from typing import Any

_WELL = 1
"""Number of first calls that go well: the unmeasured batch. A fault under load is worse than one before it."""

_SPARE_BYTES = 32 * 2**20
_LEAK_BYTES = 2**20


class Misbehaving:
    """A model that answers after a millisecond and misbehaves from its second call on.

    Args:
        behaviour: name of a method of this class.
    """

    def __init__(self, behaviour: str) -> None:
        self._behave: Callable[[list[Any]], list[Any]] = getattr(self, behaviour)
        self._calls = self._requests = 0
        self._kept: list[bytearray] = []

    def __call__(self, payloads: list[Any]) -> list[Any]:
        self._calls += 1
        time.sleep(0.001)
        return payloads if self._calls <= _WELL else self._behave(payloads)

    def works(self, payloads: list[Any]) -> list[Any]:
        return payloads

    def raises(self, payloads: list[Any]) -> list[Any]:
        before, self._requests = self._requests, self._requests + len(payloads)
        if before // 10 < self._requests // 10:
            raise ValueError("every tenth request is bad")
        return payloads

    def always_raises(self, payloads: list[Any]) -> list[Any]:
        raise ValueError("every request is bad")

    def hangs(self, payloads: list[Any]) -> list[Any]:
        time.sleep(3600)
        return payloads

    def leaks(self, payloads: list[Any]) -> list[Any]:
        self._kept.append(bytearray(os.urandom(_LEAK_BYTES)))
        return payloads

    def needs_too_much(self, payloads: list[Any]) -> list[Any]:
        raise MemoryError("2 GiB asked for")

    def runs_out_of_memory(self, payloads: list[Any]) -> list[Any]:
        """Really runs out of memory: the kernel refuses this process more."""
        used = int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + _SPARE_BYTES, resource.RLIM_INFINITY))
        try:
            self._kept.append(bytearray(4 * _SPARE_BYTES))
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        return payloads

    def answers_too_little(self, payloads: list[Any]) -> list[Any]:
        return payloads[1:]

    def exits(self, payloads: list[Any]) -> list[Any]:
        os._exit(3)


def model(behaviour: str, odd: int) -> Misbehaving:
    """Builds the model; only configurations whose `odd` is 1 misbehave, so that there is something to recommend."""
    return Misbehaving(behaviour if odd else "works")
