"""Models whose time is known beforehand, for benchmarks that ask whether a measurement is right."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def sleeping(service_ms: float = 10.0) -> Callable[[list[Any]], list[Any]]:
    """A batch of any size takes so long.

    It sleeps, as a model on a GPU lets the CPU sleep: so the time is the same on a core that is shared.
    """

    def batch(payloads: list[Any]) -> list[Any]:
        time.sleep(service_ms / 1e3)
        return payloads

    return batch


def echo() -> Callable[[list[Any]], list[Any]]:
    """Answers with what it got, at once: what remains is the way there and back."""
    return lambda payloads: payloads
