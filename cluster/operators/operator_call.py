"""One call of an operator: its name, arguments, and what the call took, as a profiler has seen it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cluster.operators.kinds import kind_of

ITEM_BYTES: Mapping[str, int] = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1,
    "bool": 1, "complex64": 8, "complex128": 16, "uint16": 2, "uint32": 4, "uint64": 8, "qint8": 1, "quint8": 1,
    "qint32": 4, "float8_e4m3fn": 1, "float8_e5m2": 1, "float8_e4m3fnuz": 1, "float8_e5m2fnuz": 1,
}  # fmt: skip
"""Type of a number, as torch names it → its bytes."""


@dataclass(frozen=True)
class Tensor:
    """A tensor among the arguments of an operator.

    Args:
        sizes: its sizes.
        dtype: type of its numbers, as torch names it: `float32`.
        resident: what identifies its memory if that was there before the batch, such as a weight's; None for a tensor
            that the batch has made, or if it is not known.

    Raises:
        ValueError: a size is negative.
    """

    sizes: tuple[int, ...]
    dtype: str = "float32"
    resident: int | None = None

    def __post_init__(self) -> None:
        if any(size < 0 for size in self.sizes):
            raise ValueError(f"sizes of a tensor must be 0 or more, got {self.sizes}")

    @property
    def numbers(self) -> int:
        """How many numbers it has."""
        return math.prod(self.sizes)

    @property
    def size_bytes(self) -> int:
        """Its bytes; a type that is not known counts as float32."""
        return self.numbers * ITEM_BYTES.get(self.dtype, 4)


Scalar = bool | int | float | str | None
Argument = Tensor | tuple[Tensor, ...] | tuple[Scalar, ...] | Scalar
"""An argument: a tensor, several, a list of numbers, a number, a text, or none."""


@dataclass(frozen=True)
class Work:
    """What a call has to do at the least.

    Args:
        flops: floating-point operations; a multiply-add is two.
        moved_bytes: bytes of inputs and outputs, each once.
        known: whether there is a formula for it; otherwise `flops` is 0, and the bytes are those of the inputs.
    """

    flops: float
    moved_bytes: float
    known: bool = True


@dataclass(frozen=True)
class OperatorCall:
    """One call of an operator within a batch, with all that it calls itself.

    Args:
        name: its name with its namespace (`aten::linear`), or its type in ONNX.
        kind: the field's name of it, see `kinds`.
        arguments: its arguments in order.
        time_s: seconds that it took; on a GPU those of its kernels.
        work: what it has to do at the least.
        held_bytes: bytes that it has allocated and that were held when the batch's memory was largest.
        weight_bytes: bytes of its weights, where its tensors do not tell them by what is `resident`.
    """

    name: str
    kind: str
    arguments: tuple[Argument, ...]
    time_s: float
    work: Work
    held_bytes: float = 0.0
    weight_bytes: float = 0.0

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors among its arguments, in order."""
        return tuple(_tensors(self.arguments))

    @property
    def precision(self) -> str:
        """Type of the numbers that it computes with: that of its first floating-point tensor, else of its first."""
        types = [tensor.dtype for tensor in self.tensors]
        return next((name for name in types if "float" in name), types[0] if types else "float32")

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """The sizes of its tensors."""
        return tuple(tensor.sizes for tensor in self.tensors)


def _tensors(arguments: tuple[Argument, ...]) -> Iterator[Tensor]:
    for argument in arguments:
        if isinstance(argument, Tensor):
            yield argument
        elif isinstance(argument, tuple):
            yield from (each for each in argument if isinstance(each, Tensor))


def kind_of_call(name: str, arguments: tuple[Argument, ...]) -> str:
    """Returns the kind of a call by its name and, where that leaves it open, by the dimensions of its first tensor."""
    first = next(_tensors(arguments), None)
    return kind_of(name, None if first is None else len(first.sizes))
