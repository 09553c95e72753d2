"""Sample inputs: the payloads that load a replica, from one set of them or from a mix of several."""

from __future__ import annotations

import datetime
import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from raytune_infer.errors import SpecError
from raytune_infer.spec.document import kind_of, shown
from raytune_infer.spec.service_spec import ServiceSpec

_ROUND = (1_000, 100_000)
"""Requests after which a mix repeats, at least and at most. Our choice: with a thousand, shares are met to a tenth of a
per cent; a hundred thousand references are a megabyte on their way to each trial."""


def read_samples(spec: ServiceSpec) -> list[Any]:
    """The sample inputs of a service: listed in the file itself, or read from files beside it.

    They are sent in turn, so a mix of several sets is drawn here, once, and is the same for every configuration.

    Raises:
        SpecError: no such file, a kind of file that is not known, no samples in it, or a share too small.
    """
    match spec.samples:
        case list() as samples:
            if dates := [s for s in samples if isinstance(s, datetime.date)]:
                raise SpecError(f"{spec.place('samples')}: YAML takes {shown(dates[0])} for a date; put it in quotes")
            return _some(spec, samples, ("samples",))
        case dict() as shares:
            sets = [_read(spec, name, ("samples", name)) for name in shares]
            if not sets:
                raise SpecError(f"{spec.place('samples')}: names no file; give some, as in `{{short.txt: 0.9}}`")
            try:
                return mixed(sets, list(shares.values()), np.random.default_rng(0))
            except ValueError as error:
                raise SpecError(f"{spec.place('samples')}: {error}") from None
        case str() as name:
            return _read(spec, name, ("samples",))
    raise AssertionError("checked when read")


def mixed(sets: Sequence[Sequence[Any]], weights: Sequence[float], rng: np.random.Generator) -> list[Any]:
    """One round of a mix: each set as often as its weight says, in random order; its own samples in turn.

    A round is long enough that every sample is sent, if that takes no more than 100,000 requests.

    Args:
        sets: the samples to draw from, each one or more.
        weights: of the sets, relative to one another.
        rng: of the order.

    Raises:
        ValueError: a set whose share is below one request in the longest round.
    """
    shares = [weight / math.fsum(weights) for weight in weights]
    least, most = _ROUND
    length = min(
        most, max(least, *(math.ceil(min(len(s) / share, most)) for s, share in zip(sets, shares, strict=True)))
    )
    counts = [round(share * length) for share in shares]
    if 0 in counts:
        raise ValueError(f"a share of {min(shares):.2g} is below one request in {most}; raise it or leave the set out")
    which = rng.permutation(np.repeat(np.arange(len(sets)), counts))
    turns = [itertools.cycle(samples) for samples in sets]
    return [next(turns[number]) for number in which.tolist()]


def _read(spec: ServiceSpec, name: str, keys: tuple[str, ...]) -> list[Any]:
    reader = _READERS.get(Path(name).suffix)
    if reader is None:
        raise SpecError(f"{spec.place(*keys)}: {shown(name)} is none of the kinds {', '.join(_READERS)}")
    try:
        samples = reader((spec.folder / name).expanduser())
    except RecursionError:
        raise SpecError(f"{spec.place(*keys)}: cannot read {name}: it is nested too deep") from None
    except MemoryError:
        raise SpecError(f"{spec.place(*keys)}: cannot read {name}: it is larger than the memory") from None
    except (OSError, RuntimeError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise SpecError(f"{spec.place(*keys)}: cannot read {name}: {why}") from None
    return _some(spec, samples, keys)


def _some(spec: ServiceSpec, samples: list[Any], keys: tuple[str, ...]) -> list[Any]:
    if not samples:
        raise SpecError(f"{spec.place(*keys)}: there are no samples; one input at least is needed")
    return samples


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text; save it as UTF-8") from None


def _lines(path: Path) -> list[Any]:
    return [line for line in _text(path).splitlines() if line.strip()]


def _json_lines(path: Path) -> list[Any]:
    return [_parsed(line, number) for number, line in enumerate(_text(path).splitlines(), 1) if line.strip()]


def _json(path: Path) -> list[Any]:
    values = _parsed(_text(path))
    if not isinstance(values, list):
        raise ValueError(f"a JSON list of inputs is needed, found {kind_of(values)}")
    return values


def _parsed(text: str, number: int | None = None) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = error.lineno if number is None else number
        raise ValueError(f"line {line}, column {error.colno} is not JSON ({error.msg})") from None


def _array(path: Path) -> list[Any]:
    # Not np.load: what has another beginning it would take for an archive, or for a pickle, which is code.
    with path.open("rb") as file:
        array = np.lib.format.read_array(file, allow_pickle=False)
    if array.ndim == 0:
        raise ValueError("its array has no axis to take inputs from; save one of shape [inputs, …]")
    return list(array)


_READERS: Mapping[str, Callable[[Path], list[Any]]] = {
    ".txt": _lines, ".jsonl": _json_lines, ".json": _json, ".npy": _array,
}  # fmt: skip
"""File name ending → reader: a text a line, a JSON value a line, a JSON list, or an array's first axis."""
