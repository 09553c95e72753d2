"""Lock files of cores and GPUs in one folder, which all users of a machine share although none of them trusts another.

Whoever may write into the folder can put anything under a lock file's name. So no link is followed, nothing that is not
a regular file is locked, and the mode is set of a file alone that was created in the same call. `flock` needs no more
than reading, so no lock file is writable for others.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import stat
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO

_FOLDER_MODE = 0o1777
"""Every user may create files, and with the sticky bit remove only their own."""
_FILE_MODE = 0o644
_ATTEMPTS = 3
"""How often a lock is taken anew whose file was removed meanwhile."""
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # the last for a named pipe, which would wait


class BadFolder(RuntimeError):
    """The folder of the lock files cannot be used."""


def lock_folder() -> Path:
    """The folder of the lock files, the same for all users and studies of a machine.

    It is in Linux's shared memory, not in the temporary folder, which users, jobs and services may each have for
    themselves.
    """
    shared = Path("/dev/shm")
    return (shared if shared.is_dir() else Path(tempfile.gettempdir())) / "raytune-infer-cores"


def prepared(folder: Path) -> Path:
    """Return the folder, created if necessary and made writable for every user of the machine.

    Raises:
        BadFolder: under its name is a link or a file, it cannot be created, it belongs to another user than root, who
            could remove our locks, or root's lets others remove them or us create none.
    """
    asked = f"the cores of this machine are leased by locks in {folder}, which"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise BadFolder(
            f"{asked} is not a folder that can be used ({error.strerror}; it belongs to {_owner_of(folder)}); "
            "remove it, or have it removed by its owner"
        ) from None
    try:
        if os.fstat(opened).st_uid == os.geteuid():
            os.fchmod(opened, _FOLDER_MODE)
        found = os.fstat(opened)
    finally:
        os.close(opened)
    if found.st_uid not in (0, os.geteuid()) or found.st_mode & _FOLDER_MODE != _FOLDER_MODE:
        raise BadFolder(
            f"{asked} belongs to user {_name(found.st_uid)}, with mode {stat.S_IMODE(found.st_mode):04o}; it has to be "
            f"root's, so that no user can remove another's locks: have root run `rm -r {folder}; "
            f"install -d -m {_FOLDER_MODE:o} {folder}`"
        )
    return folder


def try_lock(folder: Path, of: int | str) -> IO[bytes] | None:
    """Take an exclusive lock on a core by its number, or a GPU by its UUID; None if it is taken or cannot be locked."""
    path = folder / f"{of}.lock"
    for _ in range(_ATTEMPTS):
        try:
            opened = _opened(path)
        except OSError:  # a link, or a file that only its owner may read: `obstacle` says so
            return None
        if not _locked(opened):
            os.close(opened)
            return None
        if _is_at(path, opened):
            return open(opened, "rb")
        os.close(opened)  # removed between opening and locking it: it excludes nobody any more
    return None


def _locked(opened: int) -> bool:
    """Lock an open file; whether that was possible."""
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        return False
    with suppress(BlockingIOError):
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _is_at(path: Path, opened: int) -> bool:
    """Whether an open file is still the one under a path."""
    with suppress(OSError):
        return os.path.samestat(path.lstat(), os.fstat(opened))
    return False


def _opened(path: Path) -> int:
    """Open a lock file, created if necessary, without following a link; returns its descriptor."""
    # Not O_CREAT on a file that is there: in a sticky folder Linux refuses it for another user's file
    # (fs.protected_regular).
    for _ in range(2):
        with suppress(FileNotFoundError):
            return os.open(path, _OPEN)
        with suppress(FileExistsError):  # another process has created it meanwhile
            opened = os.open(path, _OPEN | os.O_CREAT | os.O_EXCL, _FILE_MODE)
            os.fchmod(opened, _FILE_MODE)  # the umask may have taken reading from others; the file is ours, and new
            return opened
    return os.open(path, _OPEN)


def obstacles(folder: Path, cores: Iterable[int]) -> str:
    """Who keeps these cores, in words for an error; empty if all of them could be leased now."""
    found: dict[str, list[int]] = {}
    for core in cores:
        if said := _obstacle(folder, core):
            found.setdefault(said, []).append(core)
    return "; ".join(f"core {', '.join(map(str, cores))} is kept by {said}" for said, cores in found.items())


def _obstacle(folder: Path, core: int) -> str:
    if (lock := try_lock(folder, core)) is not None:
        lock.close()
        return ""
    path = folder / f"{core}.lock"
    try:
        there = path.lstat()
    except OSError as error:
        return f"the lock {path}, which cannot be made in a folder of {_owner_of(folder)} ({error.strerror})"
    owner = _name(there.st_uid)
    if not stat.S_ISREG(there.st_mode):
        return f"what user {owner} has put in place of the lock {path}; it has to be removed"
    if not os.access(path, os.R_OK):
        return f"user {owner}, who alone may read the lock {path}; it has to be removed"
    if holder := _holder(there):
        return f"process {holder} of user {_name(_uid_of(holder))}"
    return f"a process that is not seen from here; the lock {path} is a file of user {owner}"


def _holder(there: os.stat_result) -> int | None:
    """The process that holds a lock on a file, as the kernel tells (proc_locks(5)); None if it tells none.

    One in another namespace of processes, such as a container's, has the number 0.
    """
    file = f"{os.major(there.st_dev):02x}:{os.minor(there.st_dev):02x}:{there.st_ino}"
    with suppress(OSError):
        for line in Path("/proc/locks").read_text().splitlines():
            # 1: FLOCK  ADVISORY  WRITE 1234 00:1a:56 0 EOF; one that waits has an arrow before FLOCK
            words = line.split()
            if words[1:2] == ["FLOCK"] and words[5] == file:
                return int(words[4]) or None
    return None


def _uid_of(pid: int) -> int | None:
    with suppress(OSError):
        return Path(f"/proc/{pid}").stat().st_uid
    return None


def _owner_of(path: Path) -> str:
    try:
        return f"user {_name(path.lstat().st_uid)}"
    except OSError:
        return "nobody"


def _name(uid: int | None) -> str:
    """A user's name; the number of one without a name, such as one of another container."""
    if uid is None:
        return "unknown"
    with suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return str(uid)
