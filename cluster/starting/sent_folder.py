"""The files of a folder that are sent to the nodes of a cluster: no secrets, and nothing that git is told to ignore.

Ray heeds the `.gitignore` files within a folder, but not those of the folders around it, and sends `.env` along.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_NEVER = (".env", ".env.*", ".netrc", ".pypirc", "id_rsa", "id_ed25519", ".git/", ".venv/", "venv/", "__pycache__/")
"""Patterns, as in .gitignore, of what is never sent: usual files of secrets, and what Ray leaves out itself."""

_Ignored = Callable[[Path], bool]


@contextmanager
def sent_folder(folder: Path, *, below: str = "") -> Iterator[Path]:
    """Yield a folder with links to the files of a folder that may be sent to other machines.

    Args:
        folder: the folder.
        below: name of the folder within what is yielded in which its files are; empty: they are at the top.
    """
    with tempfile.TemporaryDirectory(prefix="raytune-infer-sent-") as temporary:
        root = Path(temporary)
        for path in sent_files(folder):
            link = root / below / path.relative_to(folder)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
        yield root


def sent_files(folder: Path) -> Iterator[Path]:
    """Yield the files that are sent, and the links to folders, whose content is sent as it is."""
    never = _matching(folder, _NEVER)
    yield from _below(folder, [never, *(_ignored_by(each) for each in _around(folder))])


def _below(folder: Path, ignored: list[_Ignored]) -> Iterator[Path]:
    ignored = [*ignored, _ignored_by(folder)]
    for path in sorted(folder.iterdir()):
        if any(each(path) for each in ignored):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _below(path, ignored)
        elif path.is_dir() or path.is_file():
            yield path


def _around(folder: Path) -> list[Path]:
    """The folders around a folder up to that of its git repository; none if it is in no repository."""
    around = list(folder.parents)
    for number, parent in enumerate([folder, *around]):
        if (parent / ".git").exists():
            return around[:number]
    return []


def _ignored_by(folder: Path) -> _Ignored:
    """What a folder's .gitignore names."""
    try:
        lines = (folder / ".gitignore").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return lambda path: False
    return _matching(folder, lines)


def _matching(folder: Path, patterns: list[str] | tuple[str, ...]) -> _Ignored:
    from ray._private.thirdparty.pathspec.pathspec import PathSpec

    spec = PathSpec.from_lines("gitwildmatch", patterns)

    def ignored(path: Path) -> bool:
        name = path.relative_to(folder).as_posix()
        return bool(spec.match_file(name + os.sep if path.is_dir() else name))

    return ignored
