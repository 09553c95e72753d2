"""What loaders of exported programs have in common: checks of the file and its precision, and the numbers it takes."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

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


def as_taken(payload: np.ndarray, wanted: str | None) -> np.ndarray:
    """A payload in the numbers that the file takes: what JSON or a text file holds is 64 bits wide otherwise.

    Each is converted by itself and once: in an array with others, NumPy would first round whole numbers above 2^53
    to floating-point ones if any of the others has these.

    Args:
        payload: the payload.
        wanted: NumPy's name of the input's type; None for other inputs than numbers, which are passed as they are.

    Raises:
        ModelError: they are numbers of another kind, or too large for it.
    """
    if wanted is None or payload.dtype == wanted:
        return payload
    refused = ModelError(f"the file takes {wanted}, and payloads of {payload.dtype} have values that it cannot hold")
    try:
        with np.errstate(over="raise", invalid="ignore"):  # NaN as a whole number is no equal one
            made = payload.astype(wanted)
    except FloatingPointError:  # it would become infinite
        raise refused from None
    if np.dtype(wanted).kind in "iub" and not np.array_equal(made, payload):
        raise refused
    return made
