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


def refuse_special(path: Path) -> None:
    """Refuse what is neither a file nor a folder, such as a pipe or a device: reading it may never end.

    Raises:
        ValueError: it is there, and is neither.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise ValueError("it is a pipe, a device or a socket; a regular file or a folder is needed")
