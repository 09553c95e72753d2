"""The inputs of an ONNX file, read without its weights and without a runtime.

The file is a protobuf message, whose parts have a number and a length, so that weights are skipped. The numbers are
those of `onnx.proto` (https://github.com/onnx/onnx/blob/v1.16.0/onnx/onnx.proto), which never change their meaning.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

_MODEL_GRAPH = 7
_GRAPH_INITIALIZER, _GRAPH_INPUT = 5, 11
_TENSOR_NAME, _VALUE_NAME = 8, 1


def input_names(path: Path) -> tuple[str, ...] | None:
    """Names of the inputs that a caller must give; None if the file cannot be read like this.

    Before version 4 of the format a graph's weights were listed as inputs too; those are left out.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _names(data)
    except (OSError, ValueError, IndexError):  # not to be read, an empty file, or another format
        return None


def _names(data: mmap.mmap) -> tuple[str, ...] | None:
    graphs = [span for number, *span in _parts(data, 0, len(data)) if number == _MODEL_GRAPH]
    if len(graphs) != 1:
        return None
    inputs, weights = [], set()
    for number, start, end in _parts(data, *graphs[0]):
        if number == _GRAPH_INPUT:
            inputs.append(_text(data, start, end, _VALUE_NAME))
        elif number == _GRAPH_INITIALIZER:
            weights.add(_text(data, start, end, _TENSOR_NAME))
    return tuple(name for name in inputs if name not in weights)


def _text(data: mmap.mmap, start: int, end: int, wanted: int) -> str:
    """The text with this number in the message between two offsets; empty if it has none."""
    return next((data[a:b].decode() for number, a, b in _parts(data, start, end) if number == wanted), "")


def _parts(data: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, start and end of each part of the message between two offsets. Raises ValueError if there is none.

    See "Message Structure" in https://protobuf.dev/programming-guides/encoding/.
    """
    at = start
    while at < end:
        tag, at = _varint(data, at)
        kind, after = tag & 7, at
        if kind == 0:
            _, after = _varint(data, at)
        elif kind == 2:
            length, at = _varint(data, at)
            after = at + length
        elif kind in (1, 5):
            after = at + (8 if kind == 1 else 4)
        else:
            raise ValueError(f"no protobuf message has a part of kind {kind}")
        if after > end:
            raise ValueError(f"a part ends at {after}, its message at {end}")
        yield tag >> 3, at, after
        at = after


def _varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    """A number of variable length, 7 bits in each byte, and the offset after it."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift >= 70:  # ten bytes are the most that 64 bits need
            raise ValueError("no protobuf number is longer than ten bytes")
