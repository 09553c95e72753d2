"""Checks for loaders of exported programs: that there is a file, of the right kind and in the requested precision."""

from __future__ import annotations

import zipfile
from pathlib import Path

from serve_deployments.models.context import ModelContext, ModelError

AS_EXPORTED = ("float32",)
"""Precisions of files that fix their own: "float32" stands for the precision in which the file was exported."""


def check_file(path: Path) -> None:
    """Raise `ModelError` if the path is not a file."""
    if not path.is_file():
        raise ModelError(f"{path} is not a file; this loader needs a file")


def check_archive(path: Path) -> None:
    """Raise `ModelError` if the file is not an archive as `torch.save` and similar functions write it."""
    check_file(path)
    if not zipfile.is_zipfile(path):
        raise ModelError(f"{path} is not a torch archive; pickle files are not accepted, save the model as safetensors")


def check_precision(name: str, context: ModelContext) -> None:
    """Raise `ModelError` if another precision is requested than "float32", which stands for the file's own.

    Args:
        name: name of the loader.
        context: context with the requested precision.
    """
    if context.precision != "float32":
        raise ModelError(
            f"precision {context.precision!r} is not possible, as the export fixed the precision of this {name} file; "
            "export it in that precision, or search over float32 only"
        )
