"""The content of an answer as plain values, so that answers of any type can be compared, stored and scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, fields, is_dataclass
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from typing import Any

import numpy as np

Content = Any
"""None, a bool, an int, a float, a text, bytes, an array of numbers, or a list or dictionary of these."""

_DEEPEST = 64
"""Most levels of nesting that are followed; deeper ones are compared as text. Our choice: no answer that people read is
nested as deep."""

_ITSELF = "…"
"""Stands for an object inside itself."""


@dataclass(frozen=True)
class Unanswered:
    """A request that was not answered.

    Args:
        why: what it failed with.
    """

    why: str


def plain(value: Any, around: tuple[int, ...] = ()) -> Content:
    """Return an answer as plain values.

    Tensors, images and whatever else numpy takes as an array become arrays of numbers; tuples and sets become lists,
    the sets sorted; dataclasses and named tuples become dictionaries. Other objects become a dictionary of their
    attributes, with their type's name.

    Args:
        value: the answer.
        around: identities of the objects that it is in.
    """
    if value is None or type(value) in (bool, int, float, str, bytes):
        return value
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    if isinstance(value, np.generic):
        return _scalar(value, around)
    if isinstance(value, Enum):
        return plain(value.value, around)
    for base in (str, bytes, int, float):  # of a class of its own
        if isinstance(value, base):
            return base(value)  # type: ignore[arg-type]
    if isinstance(value, complex):
        return np.array([value.real, value.imag])
    if isinstance(value, Decimal | Fraction):
        return float(value)
    if id(value) in around:
        return _ITSELF
    if len(around) >= _DEEPEST:
        return _text(value)
    inner = (*around, id(value))
    if hasattr(value, "__array__") or hasattr(value, "__array_interface__"):
        return _array(value, inner)
    return _parts(value, inner)


def _scalar(value: np.generic, around: tuple[int, ...]) -> Content:
    """Return a number or text of numpy's as one of Python's; a short float as an array, whose type says how short."""
    if isinstance(value, np.void):
        return str(value)
    if isinstance(value, np.float16):
        return np.asarray(value)
    if isinstance(value, np.complexfloating):
        return plain(complex(value), around)
    return float(value) if isinstance(value, np.floating) else plain(value.item(), around)


def _parts(value: Any, inner: tuple[int, ...]) -> Content:
    """Return a container, or another object, as plain values."""
    if isinstance(value, Mapping):
        return {_key(key): plain(each, inner) for key, each in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {name: plain(each, inner) for name, each in zip(value._fields, value, strict=True)}
    if isinstance(value, Set):
        return sorted((plain(each, inner) for each in value), key=repr)
    if isinstance(value, Sequence):
        return [plain(each, inner) for each in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name), inner) for field in fields(value)}
    if attributes := getattr(value, "__dict__", None):
        return {"type": type(value).__qualname__, **plain(dict(attributes), inner)}
    return _text(value)


def _text(value: Any) -> str:
    """Return an object as text, without the address that stands in the text of many: it differs in every process."""
    text = str(value)
    return type(value).__qualname__ if " at 0x" in text else text


def _key(key: Any) -> str:
    return key if isinstance(key, str) else repr(key)


def _array(value: Any, inner: tuple[int, ...]) -> Content:
    """Return an array of numbers; an array of anything else as a list."""
    if hasattr(value, "detach"):  # a tensor: numpy has no bfloat16, and no gradients
        value = value.detach().cpu()
        value = value.float() if str(value.dtype) == "torch.bfloat16" else value
    array = np.asarray(value)
    if array.dtype.kind == "c":
        array = np.stack([array.real, array.imag], axis=-1)
    if array.dtype.kind in "biuf":
        return array
    listed = array.tolist()
    return _text(value) if listed is value else plain(listed, inner)


def size_bytes(content: Content) -> int:
    """Return about how many bytes a content takes when it is sent or stored."""
    match content:
        case np.ndarray():
            return content.nbytes
        case str() | bytes():
            return len(content)
        case dict():
            return sum(len(key) + size_bytes(each) for key, each in content.items())
        case list():
            return sum(map(size_bytes, content))
    return 8
