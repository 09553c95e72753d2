"""Sample inputs: the payloads of the requests that load a replica, from one set or a mix of several sets."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from raytune_infer.errors import SpecError
from raytune_infer.spec.document import kind_of
from raytune_infer.spec.paths import beside, refuse_special
from raytune_infer.spec.samples.requests.reading import read_requests
from raytune_infer.spec.service_spec import ServiceSpec

_ROUND = (1_000, 100_000)
"""Smallest and largest number of requests after which a mix repeats. Our choice: with a thousand, shares are exact to
a tenth of a per cent; a hundred thousand references are a megabyte that is sent to each trial."""


def read_samples(spec: ServiceSpec) -> list[Any]:
    """Return the sample inputs of a service: listed in service.yaml itself, or read from files beside it.

    Samples are sent in turn, and so are requests to a language model. A mix of several sets is drawn once, here, so it
    is the same for every configuration.

    Raises:
        SpecError: a file is missing, of an unknown kind or without samples, or a share is too small.
    """
    if spec.requests is not None:
        return list(read_requests(spec).payloads)
    match spec.samples:
        case list() as samples:
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


def sample_files(spec: ServiceSpec) -> list[Path]:
    """Return the files and folders that samples are read from; none if service.yaml lists the samples itself.

    Raises:
        ValueError: a name is in a home folder that does not exist.
    """
    names = [spec.samples] if isinstance(spec.samples, str) else spec.samples if isinstance(spec.samples, dict) else ()
    if spec.requests is not None:
        names = [*filter(None, ((spec.requests.file or ("", ""))[1], spec.requests.tokenizer))]
    return [beside(spec.folder, name) for name in names]


def mixed(sets: Sequence[Sequence[Any]], weights: Sequence[float], rng: np.random.Generator) -> list[Any]:
    """Draw one round of a mix: sets in random order, each in proportion to its weight; its samples in turn.

    A round is long enough to send every sample, if that takes no more than 100,000 requests.

    Args:
        sets: the sets of samples, none of them empty.
        weights: relative weight of each set.
        rng: source of the random order.

    Raises:
        ValueError: a set's share is below one request in the longest round.
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
    try:
        path = beside(spec.folder, name)
        refuse_special(path)
        samples = _reader(path)(path)
    except RecursionError:
        raise SpecError(f"{spec.place(*keys)}: cannot read {name}: it is nested too deeply") from None
    except MemoryError:
        raise SpecError(f"{spec.place(*keys)}: cannot read {name}: it does not fit into memory") from None
    except (OSError, RuntimeError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise SpecError(f"{spec.place(*keys)}: cannot read {name}: {why}") from None
    return _some(spec, samples, keys)


def _reader(path: Path) -> Callable[[Path], list[Any]]:
    reader = _files if path.is_dir() else _READERS.get(path.suffix.lower())
    if reader is None:
        kinds = f"{', '.join(_READERS)}, and a folder of files, whose bytes are the inputs"
        raise ValueError(f"its type of file is not supported; supported are {kinds}")
    return reader


def _some(spec: ServiceSpec, samples: list[Any], keys: tuple[str, ...]) -> list[Any]:
    if not samples:
        raise SpecError(f"{spec.place(*keys)}: there are no samples; at least one input is needed")
    return samples


def _text(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text; save it as UTF-8") from None
    if "\0" in text:  # as in UTF-16, which is valid UTF-8 where all its characters are ASCII
        raise ValueError("it is not UTF-8 text, or has NUL characters; save it as UTF-8")
    return text


def _split(text: str) -> list[str]:
    """Split at line ends alone: `str.splitlines` also splits at U+2028 and form feeds, which a JSON text may hold.

    Files that were joined may have a byte order mark at the start of any line, which belongs to no text.
    """
    return [line.removeprefix("\ufeff") for line in text.replace("\r\n", "\n").split("\n")]


def _lines(path: Path) -> list[Any]:
    return [line for line in _split(_text(path)) if line.strip()]


def _json_lines(path: Path) -> list[Any]:
    return [_parsed(line, number) for number, line in enumerate(_split(_text(path)), 1) if line.strip()]


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
    # Not np.load: it takes a file with another header as an archive or a pickle, and a pickle can run code.
    with path.open("rb") as file:
        array = np.lib.format.read_array(file, allow_pickle=False)
    if array.ndim == 0:
        raise ValueError("its array has no axis to take inputs from; save one of shape [inputs, …]")
    return list(array)


def _files(folder: Path) -> list[Any]:
    """The bytes of each file of a folder, in the order of their names; hidden files and folders in it are left out."""
    return [path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith(".")]


_READERS: Mapping[str, Callable[[Path], list[Any]]] = {
    ".txt": _lines, ".jsonl": _json_lines, ".json": _json, ".npy": _array,
}  # fmt: skip
"""File name suffix → reader: one text per line, one JSON value per line, a JSON list, or an array's first axis."""
