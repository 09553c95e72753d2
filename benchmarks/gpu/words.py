"""Runs out of memory on purpose, in each way that can be had, to see whether the words of it are recognised."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Any

from benchmarks.gpu.computing import in_onnx
from serve_deployments.device.gpu.memory import clean_after
from serve_deployments.endpoint import first_line, is_out_of_memory

_FAR_TOO_MUCH = 1 << 46  # bytes, 64 TiB: more than any machine has, less than what torch refuses as nonsense
_BLOCK = 64 << 20
_TOO_LITTLE = 0.001  # part of the device's memory: 80 MiB of 80 GiB, where the matrices take 150 MiB each


def words(job: Any, torch: Any, clock: Callable[[], float]) -> Callable[[], dict[str, Any]]:
    """Provokes each lack of memory; says what was raised, and whether it counts as a lack of memory."""
    import torch as real

    def of_allocator() -> None:
        real.empty(_FAR_TOO_MUCH, dtype=real.uint8, device=job.device)

    def of_cublas() -> None:
        a = real.randn(64, 64, device=job.device)
        made, filled = real.empty_like(a), list(_all_that_is_left(real))
        with ThreadPoolExecutor(1) as other:  # a thread has a cuBLAS of its own
            other.submit(lambda: real.mm(a, a, out=made)).result(job.within_s)
        del filled

    def of_onnx() -> None:
        run, _ = in_onnx(replace(job, memory=_TOO_LITTLE), torch)
        run()

    ways: dict[str, Callable[[], None]] = {"torch's allocator": of_allocator}
    if job.device != "cpu":
        ways |= {"cuBLAS without room": of_cublas, "ONNX Runtime's arena": of_onnx}

    def measure() -> dict[str, Any]:
        return {"raised": [[name, *_raised(way, torch)] for name, way in ways.items()]}

    return measure


def _raised(way: Callable[[], None], torch: Any) -> tuple[str, str, bool]:
    """Type and words of what was raised, and whether it was recognised."""
    try:
        way()
    except ImportError as error:
        return "–", f"left out: {error.name} is not installed", True
    except Exception as error:
        told = type(error).__name__, first_line(error), is_out_of_memory(error)
        clean_after(error, torch)
        return told
    return "–", "nothing was raised", True


def _all_that_is_left(torch: Any) -> Iterator[Any]:
    """Takes all of the device's memory that is free, in blocks."""
    with suppress(torch.OutOfMemoryError):
        while True:
            yield torch.empty(_BLOCK, dtype=torch.uint8, device="cuda")
