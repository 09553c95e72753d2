"""The files of a folder that are sent to the nodes of a cluster: no secrets, and nothing that git is told to ignore.

Ray heeds the `.gitignore` files within a folder, but not those of the folders around it, and sends `.env` along.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from cluster.starting.ignore_rules import IgnoreRules

_log = logging.getLogger(__name__)
_SECRETS = IgnoreRules(
    (
        *(".env", ".env.*", "*.env", ".envrc", ".netrc", ".pypirc", ".git-credentials", ".aws/", ".ssh/"),
        *("id_*", "!id_*.*", "!id_*/", "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*"),
    )
)
"""Usual files of secrets, which are never sent. Private keys of ssh have names without an ending."""
_USELESS = IgnoreRules((".git", ".venv/", "venv/", "__pycache__/"))
"""What Ray leaves out itself; nobody misses it."""
_MOST_NAMED = 6


class _Scope(NamedTuple):
    """Rules for what is below a folder, which is itself at `at` below the folder that has the rules."""

    folder: Path
    at: PurePosixPath
    rules: IgnoreRules

    def says(self, path: Path, *, is_folder: bool) -> bool | None:
        return self.rules.says((self.at / path.relative_to(self.folder)).as_posix(), is_folder=is_folder)


@dataclass
class Sent:
    """What is sent of a folder: paths of files, and of what is left out, folders as a whole."""

    files: list[Path] = field(default_factory=list)
    left_out: list[Path] = field(default_factory=list)


@contextmanager
def sent_folder(folder: Path, *, below: str = "") -> Iterator[Path]:
    """Yield a folder with links to the files of a folder that may be sent to other machines; what may not is said.

    Args:
        folder: the folder.
        below: name of the folder within what is yielded in which its files are; empty: they are at the top.
    """
    with tempfile.TemporaryDirectory(prefix="raytune-infer-sent-") as temporary:
        root = Path(temporary)
        sent = sent_files(folder)
        for path in sent.files:
            link = root / below / path.relative_to(folder)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
        if sent.left_out:
            names = [path.relative_to(folder).as_posix() for path in sent.left_out]
            more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
            _log.warning(
                "not sent to the cluster from %s: %s%s (ignored by git, or usual names of secrets)",
                *(folder, ", ".join(names[:_MOST_NAMED]), more),
            )
        yield root


def sent_files(folder: Path) -> Sent:
    """Return which files of a folder are sent, also in linked folders; that it is ignored itself does not count."""
    sent = Sent()
    _walk(folder, [_around(folder)], (), sent)
    return sent


def _walk(folder: Path, scopes: list[list[_Scope]], inside: tuple[Path, ...], sent: Sent) -> None:
    """Sort out what is in a folder.

    Args:
        folder: the folder.
        scopes: rules of the folders around it, the nearest last; by its own name, and by those of links on the way.
        inside: the folders on the way to it, without links, so that a link back is not followed for ever.
        sent: is added to.
    """
    real = folder.resolve()
    own = _Scope(folder, PurePosixPath(), IgnoreRules.of(folder))
    scopes = [[*each, own] for each in scopes]
    try:
        found = sorted(folder.iterdir())
    except OSError:
        sent.left_out.append(folder)
        return
    for path in found:
        is_folder = path.is_dir()
        if _USELESS.says(path.name, is_folder=is_folder):
            continue
        if _is_secret(path) or any(_ignored(each, path, is_folder) for each in scopes):
            sent.left_out.append(path)
        elif path.is_file():
            sent.files.append(path)
        elif is_folder and path.resolve() not in (*inside, real):
            linked = [_around(path)] if path.is_symlink() else []
            _walk(path, [*scopes, *linked], (*inside, real), sent)


def _is_secret(path: Path) -> bool:
    """Whether a path, or what it is a link to, has a usual name of secrets, or is in a folder that has."""
    if _SECRETS.says(path.name, is_folder=path.is_dir()):
        return True
    if not path.is_symlink():
        return False
    target = path.resolve()
    around = any(_SECRETS.says(parent.name, is_folder=True) for parent in target.parents)
    return around or bool(_SECRETS.says(target.name, is_folder=target.is_dir()))


def _ignored(scopes: list[_Scope], path: Path, is_folder: bool) -> bool:
    """What the nearest folder says whose rules name the path."""
    said = (each.says(path, is_folder=is_folder) for each in reversed(scopes))
    return next((one for one in said if one is not None), False)


def _around(folder: Path) -> list[_Scope]:
    """Rules of the folders around a folder, from that of its git repository on; in none, the user's for all of them."""
    real = folder.resolve()
    around = list(real.parents)
    for number, parent in enumerate([real, *around]):
        if (parent / ".git").exists():
            return [
                _Scope(folder, PurePosixPath(real.relative_to(each).as_posix()), IgnoreRules.of(each))
                for each in reversed(around[:number])
            ]
    return [_Scope(folder, PurePosixPath(), IgnoreRules.of_the_user(folder))]
