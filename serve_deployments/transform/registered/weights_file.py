"""A safetensors file whose tensors can be used where they lie: every one begins at a multiple of 64 bytes.

safetensors itself promises 8 bytes, and a kernel of the CPU may add up in another order at other alignments: weights in
such a file and in memory of torch's own give the same bits. Readers of the format see the room between tensors as
tensors of bytes whose names begin with `__room__`, as the format allows no gaps.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

ALIGNMENT = 64
"""Bytes; that of torch's own memory on a CPU (`c10/core/alignment.h`), a cache line."""
ROOM = "__room__"

_NAMES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32",
    "int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL",
}  # fmt: skip
"""torch's name of a type → that of safetensors; bytes of any other are stored as U8."""


@dataclass(frozen=True)
class Entry:
    """What to write for one piece of memory.

    Args:
        name: name of its tensor.
        dtype: torch's name of the type; empty: bytes of several tensors, or with steps of their own.
        shape: sizes of the tensor.
        data: `[n]` of uint8.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: torch.Tensor


def write(path: Path, entries: Sequence[Entry]) -> list[int]:
    """Writes the file, and puts it in its place when it is whole.

    Returns:
        Position of each entry's first byte in the file.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    begins, reach = [], 0
    for i, entry in enumerate(entries):
        if room := -reach % ALIGNMENT:
            header[f"{ROOM}{i}"] = {"dtype": "U8", "shape": [room], "data_offsets": [reach, reach + room]}
            reach += room
        begins.append(reach)
        reach += entry.data.numel()
        known = entry.dtype in _NAMES
        header[entry.name if known else f"{entry.name}#bytes"] = {
            "dtype": _NAMES.get(entry.dtype, "U8"),
            "shape": list(entry.shape) if known else [entry.data.numel()],
            "data_offsets": [begins[-1], reach],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    with fresh.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        start = file.tell()
        for entry, begin in zip(entries, begins, strict=True):
            file.write(b"\0" * (start + begin - file.tell()))
            file.write(entry.data.detach().cpu().numpy().data)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    return [start + begin for begin in begins]
