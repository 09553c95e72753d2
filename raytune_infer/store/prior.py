"""Prior knowledge of one's own in place of what ships: a file that `raytune-infer meta-train --from` wrote.

A run keeps a copy of it, so that going on needs no file from elsewhere, and is told if the copy is another.
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
"""Of a run's prior, in its folder."""
_DIGITS = 12
"""Of a file's SHA-256 that are shown and kept: enough to tell files apart by. Our choice."""


@dataclass(frozen=True, eq=False)
class PriorFile:
    """What services like this could be.

    Args:
        surfaces: as a searcher takes them.
        content: the file's bytes.
        label: which file it is, by its name and by what is in it.
    """

    surfaces: SurfaceModel
    content: bytes
    label: str

    def kept(self, run: RunFolder) -> RunFolder:
        """The run that is begun with it: a copy of the file is in the folder from now on."""
        (run.path / COPY).write_bytes(self.content)
        return replace(run, prior=self.label)

    def note(self) -> str:
        """What the user should know of it."""
        card = self.surfaces.card
        return f"prior knowledge is {self.label}: {card.get('data', 'no card')}, {card.get('date', 'no date')}"


def read_prior(path: str | Path, *searchers: str) -> PriorFile:
    """Read and check a file of prior knowledge.

    Args:
        path: the file.
        searchers: names of those who are to search; one or more of them must make use of it.

    Raises:
        UserError: the file cannot be read or is another kind of file, or none of the searchers takes a prior.
    """
    if searchers and not TAKES_SURFACES & set(searchers):
        raise UserError(
            f"a prior is of no use to {', '.join(searchers)}; search with {' or '.join(sorted(TAKES_SURFACES))}, "
            "or leave --prior out"
        )
    return _read(Path(path), Path(path).name)


def kept_prior(run: RunFolder) -> PriorFile | None:
    """The prior that a run was begun with; None if that is what ships.

    Raises:
        UserError: the copy cannot be read.
        RunError: it is not the file that the run was begun with.
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
    except (ValueError, KeyError, TypeError) as error:  # the last two: of another version
        raise UserError(f"cannot take {path} for a prior: {error}") from None
    return PriorFile(surfaces, content, f"{name} {hashlib.sha256(content).hexdigest()[:_DIGITS]}")
