"""The context that a replica gives to the model it runs, and the error of a model that cannot run there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

PRECISIONS = ("float32", "bfloat16", "float16")


class ModelError(ValueError):
    """A model cannot be found, built or called; the message says how to fix it."""


class UnexpectedArgument(ModelError):
    """A model does not take one of the arguments that it is given.

    Args:
        message: what is wrong, and how to fix it.
        name: name of the argument.
    """

    def __init__(self, message: str, name: str = "") -> None:
        super().__init__(message)
        self.name = name


@dataclass(frozen=True)
class ModelContext:
    """Properties of the replica that a model can be built with.

    Args:
        precision: number format of weights and arithmetic, one of `PRECISIONS`. Torch has dropped its dynamic int8.
        device: "cpu" or "cuda".
        cpu_cores: number of cores that the model may use.
        threads: number of intra-operation threads.
        gpu_type: type of the GPU; None without one.
        gpu_share: fraction of that GPU's compute.
        gpu_memory_gib: GPU memory in GiB that the model may use; None if not limited.
        cuda_stream: handle of the CUDA stream in which the model must compute to be held to its share of the GPU; None
            if all streams are, or there is no share. Torch computes there by itself.
    """

    precision: str = "float32"
    device: str = "cpu"
    cpu_cores: int = 1
    threads: int = 1
    gpu_type: str | None = None
    gpu_share: float = 0.0
    gpu_memory_gib: float | None = None
    cuda_stream: int | None = None


def dtype_of(context: ModelContext) -> torch.dtype:
    """The torch dtype of the precision.

    Raises:
        ModelError: the precision is none of `PRECISIONS`.
    """
    import torch

    if context.precision not in PRECISIONS:
        raise ModelError(f"precision {context.precision!r} is not one of {', '.join(PRECISIONS)}")
    dtype: torch.dtype = getattr(torch, context.precision)
    return dtype
