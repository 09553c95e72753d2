"""How the shapes of a model's operators follow its batch, seen from two batches; and the classes that this makes.

A size that differs between batches of `b1` and `b2` payloads is `each * b + fixed`. Two calls are of one class if their
names, these sizes and all other arguments are equal, whatever the precision: a class is what curves are measured of.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cluster.operators.kinds import UNMAPPED
from cluster.operators.operator_call import Argument, OperatorCall, Scalar, Tensor, Work
from cluster.operators.trace import Trace
from cluster.operators.work import work_of

FLOATS = ("float32", "bfloat16", "float16")
"""Types of numbers that a model's precision stands for."""
_PRECISION = "precision"


class NotAligned(ValueError):
    """Two batches of a model do not call the same operators in the same order."""


@dataclass(frozen=True)
class Size:
    """A size that follows the batch: `each` for each payload, and a fixed part."""

    each: int
    fixed: int = 0

    def at(self, batch: int) -> int:
        """The size in a batch of so many payloads."""
        return self.each * batch + self.fixed


@dataclass(frozen=True)
class TensorClass:
    """A tensor of any batch.

    Args:
        sizes: its sizes.
        dtype: type of its numbers; `precision` for the model's.
        weight: whether it was there before the batch.
    """

    sizes: tuple[Size, ...]
    dtype: str
    weight: bool = False

    def at(self, batch: int, precision: str) -> Tensor:
        """The tensor in a batch."""
        dtype = precision if self.dtype == _PRECISION else self.dtype
        return Tensor(tuple(size.at(batch) for size in self.sizes), dtype, 0 if self.weight else None)


Part = TensorClass | Size | Scalar


@dataclass(frozen=True)
class OperatorClass:
    """Calls of one operator whose arguments follow the batch alike.

    Args:
        name: name of the operator with its namespace.
        kind: its kind.
        parts: its arguments; those that are lists are tuples.
    """

    name: str
    kind: str
    parts: tuple[Part | tuple[Part, ...], ...]

    def arguments(self, batch: int, precision: str) -> tuple[Argument, ...]:
        """The arguments in a batch of so many payloads."""
        return tuple(
            tuple(_at(part, batch, precision) for part in each)  # type: ignore[misc]
            if isinstance(each, tuple)
            else _at(each, batch, precision)
            for each in self.parts
        )

    def work(self, batch: int, precision: str) -> Work:
        """What a call has to do at the least."""
        return work_of(self.name, self.kind, self.arguments(batch, precision))

    @property
    def key(self) -> str:
        """A text that is equal for equal classes; `class_of_key` is the inverse."""
        return json.dumps([self.name, self.kind, [_to_json(part) for part in self.parts]], separators=(",", ":"))

    @property
    def words(self) -> str:
        """Its tensors in words: `[64 b x 384] [1536 x 384]`, b the batch."""
        return " ".join(f"[{' x '.join(map(_size_words, each.sizes))}]" for each in _tensors(self.parts))


def class_of_key(key: str) -> OperatorClass:
    """Restores a class from its key; raises ValueError if it is none."""
    try:
        name, kind, parts = json.loads(key)
        return OperatorClass(name, kind, tuple(_from_json(part) for part in parts))
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(f"{key!r} is no key of an operator's class: {error}") from None


def classes_of(small: Trace, large: Trace) -> tuple[OperatorClass | None, ...]:
    """Returns the class of each call of `small`, by how it differs from that of `large`; None for unmapped ones.

    Raises:
        NotAligned: their calls differ in more than sizes, or a size does not follow the batch.
    """
    if small.batch == large.batch:
        raise ValueError(f"two batches of different sizes are needed, got {small.batch} twice")
    if small.names != large.names:
        raise NotAligned(f"batches of {small.batch} and {large.batch} call other operators")
    return tuple(
        None if a.kind == UNMAPPED else _class_of(a, b, (small.batch, large.batch))
        for a, b in zip(small.calls, large.calls, strict=True)
    )


def inputs_among(small: Trace, large: Trace) -> frozenset[int]:
    """What identifies memory in `small` that was there before the batch, but has another size in `large`: payloads."""
    if small.names != large.names:
        return frozenset()
    pairs = zip(small.calls, large.calls, strict=True)
    tensors = ((a, b) for one, other in pairs for a, b in zip(one.tensors, other.tensors, strict=False))
    return frozenset(a.resident for a, b in tensors if a.resident is not None and a.sizes != b.sizes)


def _class_of(a: OperatorCall, b: OperatorCall, batches: tuple[int, int]) -> OperatorClass:
    if len(a.arguments) != len(b.arguments):
        raise NotAligned(f"{a.name} has other arguments in batches of {batches[0]} and {batches[1]}")
    return OperatorClass(
        a.name, a.kind, tuple(_part(x, y, batches) for x, y in zip(a.arguments, b.arguments, strict=True))
    )


def _part(x: Argument, y: Argument, batches: tuple[int, int]) -> Any:
    if isinstance(x, Tensor) and isinstance(y, Tensor) and len(x.sizes) == len(y.sizes):
        sizes = tuple(_size(m, n, batches) for m, n in zip(x.sizes, y.sizes, strict=True))
        return TensorClass(sizes, _PRECISION if x.dtype in FLOATS else x.dtype, x.resident is not None and x == y)
    if isinstance(x, tuple) and isinstance(y, tuple) and len(x) == len(y):
        return tuple(_part(m, n, batches) for m, n in zip(x, y, strict=True))
    if isinstance(x, Tensor | tuple) or isinstance(y, Tensor | tuple):
        raise NotAligned(f"{x} and {y} in batches of {batches[0]} and {batches[1]}")
    if x == y or type(x) is not int or type(y) is not int:
        return x
    return _size(x, y, batches)


def _size(m: int, n: int, batches: tuple[int, int]) -> Size:
    each, left = divmod(n - m, batches[1] - batches[0])
    fixed = m - each * batches[0]
    # A size that shrinks, or is below nothing for a batch of one, follows something else.
    if left or each < 0 or each + fixed < 0:
        raise NotAligned(f"a size of {m} in a batch of {batches[0]} and of {n} in one of {batches[1]} follows neither")
    return Size(each, fixed)


def _at(part: Part, batch: int, precision: str) -> Tensor | Scalar:
    if isinstance(part, TensorClass):
        return part.at(batch, precision)
    return part.at(batch) if isinstance(part, Size) else part


def _tensors(parts: tuple[Part | tuple[Part, ...], ...]) -> Iterator[TensorClass]:
    for part in parts:
        if isinstance(part, tuple):
            yield from (each for each in part if isinstance(each, TensorClass))
        elif isinstance(part, TensorClass):
            yield part


def _size_words(size: Size) -> str:
    if not size.each:
        return str(size.fixed)
    scaled = "b" if size.each == 1 else f"{size.each} b"
    return f"{scaled} + {size.fixed}" if size.fixed else scaled


def _to_json(part: Any) -> Any:
    if isinstance(part, TensorClass):
        return {"sizes": [[s.each, s.fixed] for s in part.sizes], "dtype": part.dtype, "weight": part.weight}
    if isinstance(part, Size):
        return {"each": part.each, "fixed": part.fixed}
    return [_to_json(each) for each in part] if isinstance(part, tuple) else part


def _from_json(value: Any) -> Any:
    if isinstance(value, dict):
        if "sizes" in value:
            return TensorClass(tuple(Size(*pair) for pair in value["sizes"]), value["dtype"], value["weight"])
        return Size(value["each"], value["fixed"])
    return tuple(_from_json(each) for each in value) if isinstance(value, list) else value
