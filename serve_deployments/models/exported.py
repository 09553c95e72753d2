"""What loaders of exported programs check: that there is a file, of its kind, in the precision that is asked for."""

from __future__ import annotations

import zipfile
from pathlib import Path

from serve_deployments.models.context import ModelContext, ModelError

AS_EXPORTED = ("float32",)
"""The file fixes the precision; what it was exported in is what "float32" stands for."""


def check_file(path: Path) -> None:
    """Raise `ModelError` if there is no file at the path."""
    if not path.is_file():
        raise ModelError(f"{path} is a folder, this loader reads a file")


def check_archive(path: Path) -> None:
    """Raise `ModelError` if what is there is no archive as `torch.save` and its kin write them."""
    check_file(path)
    if not zipfile.is_zipfile(path):
        raise ModelError(
            f"{path} is no archive as torch writes them; a pickle is not read, save the model as safetensors"
        )


def check_precision(name: str, context: ModelContext) -> None:
    """Raise `ModelError` if another precision is asked for than the file was exported in."""
    if context.precision != "float32":
        raise ModelError(
            f"precision {context.precision!r} asked for, but a {name} file keeps the one it was exported in; "
            "export it in that precision, or search over float32 only"
        )
