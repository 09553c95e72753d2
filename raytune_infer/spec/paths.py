"""Paths in a service.yaml: whatever is relative is relative to the file's folder."""

from __future__ import annotations

from pathlib import Path


def beside(folder: Path, name: str) -> Path:
    """Return the path that a name in service.yaml stands for: `~` is a home folder, what is relative is in `folder`.

    Raises:
        ValueError: there is no such home folder.
    """
    try:
        return folder / Path(name).expanduser()
    except RuntimeError as error:
        raise ValueError(str(error)) from None
