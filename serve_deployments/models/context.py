"""What a model may know of the replica that runs it, and the error that says why it cannot run there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

PRECISIONS = ("float32", "bfloat16", "float16")


class ModelError(ValueError):
    """A model cannot be found, built or called; the message says what would help."""


@dataclass(frozen=True)
class ModelContext:
    """What a model may know of the replica that runs it.

    Args:
        precision: of weights and arithmetic, one of `PRECISIONS`. Torch has dropped its dynamic int8.
        device: "cpu" or "cuda".
        cpu_cores: cores it may use.
        threads: threads for one operation.
        gpu_type: name of the GPU's type; None without one.
        gpu_share: share of that GPU.
        gpu_memory_gib: memory it may use there.
    """

    precision: str = "float32"
    device: str = "cpu"
    cpu_cores: int = 1
    threads: int = 1
    gpu_type: str | None = None
    gpu_share: float = 0.0
    gpu_memory_gib: float | None = None


def dtype_of(context: ModelContext) -> torch.dtype:
    """Torch's name for the precision.

    Raises:
        ModelError: it is none of `PRECISIONS`.
    """
    import torch

    if context.precision not in PRECISIONS:
        raise ModelError(f"precision {context.precision!r} is not one of {', '.join(PRECISIONS)}")
    dtype: torch.dtype = getattr(torch, context.precision)
    return dtype
