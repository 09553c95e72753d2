"""Custom prior in place of the shipped one: a file written by `raytune-infer meta-train --from`.

A run keeps a copy of it, so that resuming needs no other file; a copy that has changed is detected.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from raytune_infer.errors import RunError, UserError
from raytune_infer.store.run_folder import RunFolder
from searchers.registry import TAKES_SURFACES

if TYPE_CHECKING:
    from searchers.surfaces.belief import SurfaceModel

COPY = "prior.safetensors"
"""File name of the prior's copy in a run's folder."""
_DIGITS = 12
"""Digits of a file's SHA-256 in its label: enough to tell files apart. Our choice."""


@dataclass(frozen=True, eq=False)
class PriorFile:
    """A prior over services, with the file that it was read from.

    Args:
        surfaces: the surface model for the searcher.
        content: the file's bytes.
        label: the file's name and a digest of its content.
    """

    surfaces: SurfaceModel
    content: bytes
    label: str

    def kept(self, run: RunFolder) -> RunFolder:
        """Copy the file into a new run's folder and return the run with this prior."""
        (run.path / COPY).write_bytes(self.content)
        return replace(run, prior=self.label)

    def note(self) -> str:
        """Return a note on the prior for the user."""
        card = self.surfaces.card
        return f"prior knowledge is {self.label}: {card.get('data', 'no card')}, {card.get('date', 'no date')}"


def read_prior(path: str | Path, *searchers: str) -> PriorFile:
    """Read and check a prior file.

    Args:
        path: the file.
        searchers: names of the searchers that will run; at least one of them must take a prior. Empty: no check.

    Raises:
        UserError: the file cannot be read or is another kind of file, or none of the searchers takes a prior.
    """
    if searchers and not TAKES_SURFACES & set(searchers):
        raise UserError(
            f"a prior is not used by {', '.join(searchers)}; search with {' or '.join(sorted(TAKES_SURFACES))}, "
            "or leave --prior out"
        )
    return _read(Path(path), Path(path).name)


def kept_prior(run: RunFolder) -> PriorFile | None:
    """Return the custom prior that a run was started with; None if it was the shipped one.

    Raises:
        UserError: the copy cannot be read.
        RunError: the copy is not the file that the run was started with.
    """
    if run.prior is None:
        return None
    prior = _read(run.path / COPY, run.prior.rsplit(" ", 1)[0])
    if prior.label != run.prior:
        raise RunError(
            f"{run.path / COPY} is not the prior of this run, {run.prior}; put that back, or start a new run"
        )
    return prior


def _read(path: Path, name: str) -> PriorFile:
    from searchers.surfaces.belief import SurfaceModel  # brings torch

    try:
        content = path.read_bytes()
        surfaces = SurfaceModel.load(path)
    except OSError as error:
        raise UserError(f"cannot read the prior {path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:  # the last two: a file of another version
        raise UserError(f"{path} is not a valid prior: {error}") from None
    return PriorFile(surfaces, content, f"{name} {hashlib.sha256(content).hexdigest()[:_DIGITS]}")
