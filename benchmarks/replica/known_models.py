"""Models whose service time is known, for benchmarks that check whether a measurement is right."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any

PAUSES = "pauses"
"""Payload on which `importing` answers with the milliseconds of each full collection since it was last asked."""


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


def importing(set_aside: bool = True) -> Callable[[list[str]], list[Any]]:
    """A model of a few numbers that has imported what a language model has, and times full collections of garbage.

    Args:
        set_aside: whether the replica may set it aside. Otherwise it has frozen objects itself, and is left alone.
    """
    if not set_aside:
        gc.freeze()
    import torch
    from transformers import AutoModel, AutoTokenizer

    began_s, pauses_ms = [0.0], list[float]()

    def timed(phase: str, info: dict[str, int]) -> None:
        if info["generation"] == 2:
            if phase == "start":
                began_s[0] = time.perf_counter()
            else:
                pauses_ms.append(1e3 * (time.perf_counter() - began_s[0]))

    gc.callbacks.append(timed)
    model, imported = torch.nn.Linear(16, 16), (AutoModel, AutoTokenizer)

    def answer(payloads: list[str]) -> list[Any]:
        assert imported
        if PAUSES in payloads:
            told, pauses_ms[:] = list(pauses_ms), []
            return [told] * len(payloads)
        with torch.inference_mode():
            return [float(row[0]) for row in model(torch.ones(len(payloads), 16))]

    return answer
