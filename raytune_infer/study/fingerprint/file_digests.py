"""Digests of the files that a service names or runs: its code, its model, and files among its arguments."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from raytune_infer.spec.knobs.knob_spec import KnobSpec
from raytune_infer.spec.paths import beside
from raytune_infer.spec.service import Service, model_source
from raytune_infer.spec.service_spec import ServiceSpec
from raytune_infer.study.fingerprint.imported_files import imported_files
from serve_deployments.models.loaders import LOADERS
from serve_deployments.models.model import Builder, locate

MOST_BYTES = 2**28
"""Largest file that is read for its digest; of a larger one size and time of change count. Our choice: 256 MiB take a
second or less, and a study begins and is resumed in ten."""

_OF_A_MODEL = (".json", ".safetensors", ".txt", ".model", ".jinja", ".bin", ".onnx", ".pt", ".pt2")
"""Suffixes of what is read of a model's folder; beside it may lie what changes, such as a README or a run."""

Digests = Mapping[str, str]
"""File as it is shown to the user → digest of its content, or its size and time of change."""


def model_digests(service: Service) -> Digests:
    """Return the digests of what is executed and loaded."""
    return _digests(model_files(service.spec))


def named_digests(service: Service) -> Digests:
    """Return the digests of what arguments and custom knobs name."""
    return _digests(named_files(service.spec))


def model_files(spec: ServiceSpec) -> dict[str, Path]:
    """Return what is executed and loaded: the code of model and score, and the model's own files, each by its name."""
    source = model_source(spec)
    files: dict[str, Path] = {}
    references = [source.reference] if isinstance(source, Builder) else []
    references += [] if spec.quality.score is None else [spec.quality.score]
    for reference in references:
        files |= imported_files(reference.partition(":")[0], spec.folder)
    if not isinstance(source, Builder):
        files |= _model_files(str(spec.model.path), locate(source)[0])
    if spec.model.llm is not None:
        files |= _model_files(spec.model.llm, beside(spec.folder, spec.model.llm))
    return files


def named_files(spec: ServiceSpec) -> dict[str, Path]:
    """Return the files, and those of folders of models, that arguments and custom knobs name, each by its name.

    Only those in the service's folder: a file elsewhere may be secret, and its digest would be kept with the run.
    """
    values = [*spec.model.args.values(), *(k.values for k in spec.knobs.values() if isinstance(k, KnobSpec))]
    files: dict[str, Path] = {}
    for text in _texts(values):
        try:
            path = beside(spec.folder, text)
            if not _lies_in(spec.folder, path):
                continue
            if path.is_file() or (path.is_dir() and any(loader.guesses(path) for loader in LOADERS.values())):
                inside = _model_files(text, path)
                files |= {name: file for name, file in inside.items() if _lies_in(spec.folder, file)}
        except (OSError, ValueError, RuntimeError):  # no path, a loop of links, or a file that may not be looked at
            continue
    return files


def _lies_in(folder: Path, path: Path) -> bool:
    """Whether a path leads into a folder, links followed."""
    return path.resolve().is_relative_to(folder.resolve())


def changed_files(before: Digests, now: Digests, *, added: bool = True) -> list[str]:
    """Return the files that changed, in words for each.

    Args:
        before: their digests when the study began.
        now: their digests now.
        added: whether files that were not there before count too.
    """
    said = [_change(name, before[name], now.get(name)) for name in sorted(before) if now.get(name) != before[name]]
    return said + [f"{name} (added)" for name in sorted(now) if added and name not in before]


def _change(name: str, before: str, now: str | None) -> str:
    if now is None:
        return f"{name} (gone)"
    return (
        name if before.startswith("sha256:") and now.startswith("sha256:") else f"{name} (its size or time of change)"
    )


def _model_files(shown: str, path: Path) -> dict[str, Path]:
    """Return the files of a model: those of its folder, or its file with those that begin with its name.

    That is how ONNX names the files of weights that do not fit into it: `model.onnx_data` or `model.onnx.data`.
    """
    if path.is_dir():
        inside = (file for file in path.iterdir() if file.suffix in _OF_A_MODEL and file.is_file())
        return {f"{shown.rstrip('/')}/{file.name}": file for file in inside}
    if path.suffix != ".onnx":
        return {shown: path}
    parts = (file for file in path.parent.iterdir() if file.name.startswith(path.name) and file.is_file())
    return {f"{shown}{file.name.removeprefix(path.name)}": file for file in parts}


def _texts(value: Any) -> Iterator[str]:
    """Yield the texts in a value, at any depth."""
    match value:
        case str():
            yield value
        case dict():
            yield from (text for part in value.values() for text in _texts(part))
        case list() | tuple():
            yield from (text for part in value for text in _texts(part))


def _digests(files: Mapping[str, Path]) -> Digests:
    # A name that is no text, of bytes that are not UTF-8, cannot be stored.
    shown = {name.encode(errors="backslashreplace").decode(): path for name, path in files.items()}
    return {name: _digest(shown[name]) for name in sorted(shown)}


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            if (size := path.stat().st_size) <= MOST_BYTES:
                return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"
            return f"{size} bytes, changed at {path.stat().st_mtime_ns} ns"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
