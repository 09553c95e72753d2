"""Sample inputs: the payloads that load a replica."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from raytune_infer.errors import SpecError
from raytune_infer.spec import ServiceSpec


def read_samples(spec: ServiceSpec) -> list[Any]:
    """The sample inputs of a service: listed in the file itself, or read from a file beside it.

    Raises:
        SpecError: no such file, a kind of file that is not known, or no samples in it.
    """
    if isinstance(spec.samples, list):
        samples = spec.samples
    else:
        path = (spec.folder / spec.samples).expanduser()
        reader = _READERS.get(path.suffix)
        if reader is None:
            raise SpecError(f"{spec.place('samples')}: {spec.samples!r} is none of the kinds {', '.join(_READERS)}")
        try:
            samples = reader(path)
        except (OSError, ValueError) as error:
            raise SpecError(f"{spec.place('samples')}: cannot read {path}: {error}") from None
    if not samples:
        raise SpecError(f"{spec.place('samples')}: {spec.samples!r} has none; one input at least is needed")
    return samples


def _lines(path: Path) -> list[Any]:
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _json_lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in _lines(path)]


def _json(path: Path) -> list[Any]:
    values = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(values, list):
        raise ValueError(f"a JSON list of inputs is needed, found {type(values).__name__}")
    return values


def _array(path: Path) -> list[Any]:
    return list(np.load(path, allow_pickle=False))


_READERS: Mapping[str, Callable[[Path], list[Any]]] = {
    ".txt": _lines, ".jsonl": _json_lines, ".json": _json, ".npy": _array,
}  # fmt: skip
"""File name ending → reader: a text a line, a JSON value a line, a JSON list, or an array's first axis."""
