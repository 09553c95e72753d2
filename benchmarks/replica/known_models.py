"""Models whose service time is known, for benchmarks that check whether a measurement is right."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def sleeping(service_ms: float = 10.0) -> Callable[[list[Any]], list[Any]]:
    """A model that sleeps `service_ms` for a batch of any size.

    It leaves the CPU idle, as a model on a GPU does, so the time is the same on a shared core.
    """

    def batch(payloads: list[Any]) -> list[Any]:
        time.sleep(service_ms / 1e3)
        return payloads

    return batch


def echo() -> Callable[[list[Any]], list[Any]]:
    """A model that returns its payloads at once: what remains is the overhead of a request."""
    return lambda payloads: payloads


def uneven(usual_ms: float, slow_ms: float) -> Callable[[list[str]], list[int]]:
    """A model whose batches take as long as their slowest request: `slow_ms` for one called "slow"."""

    def answer(payloads: list[str]) -> list[int]:
        time.sleep((slow_ms if "slow" in payloads else usual_ms) / 1e3)
        return [0] * len(payloads)

    return answer
