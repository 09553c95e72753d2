"""How a SQLite database is opened: what is written is kept, processes can work at once, reading changes nothing."""

from __future__ import annotations

import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

BUSY_MS = 60_000
"""How long a process waits for another one's write. Our choice: on a busy machine SQLite's usual 5 s were too few."""
_AGAIN_S = 0.02
"""Pause before what is locked is tried once more. Our choice."""


def copied(file: Path) -> sqlite3.Connection:
    """Return a copy in memory of the database in a file, which stays as it is, with all that is beside it.

    It may be somebody else's, so its tables run nothing (views and triggers are refused functions with effects).
    """
    copy = sqlite3.connect(":memory:", check_same_thread=False)
    try:
        _read_into(copy, file)
        copy.execute("PRAGMA trusted_schema=OFF")
    except BaseException:
        copy.close()
        raise
    return copy


def _read_into(copy: sqlite3.Connection, file: Path) -> None:
    log, index = (file.with_name(file.name + end) for end in ("-wal", "-shm"))
    if not (log.exists() and log.stat().st_size):
        _back_up(f"{file.resolve().as_uri()}?immutable=1", copy)  # else SQLite makes files beside it
    elif index.exists():
        _back_up(f"{file.resolve().as_uri()}?mode=ro", copy)  # somebody may write to it now
    else:  # whose log SQLite can only read once it has made an index beside it
        with TemporaryDirectory() as folder:
            for path in (file, log):
                shutil.copyfile(path, Path(folder) / path.name)
            _back_up((Path(folder) / file.name).as_uri(), copy)


def _back_up(uri: str, copy: sqlite3.Connection) -> None:
    with closing(sqlite3.connect(uri, uri=True, timeout=BUSY_MS / 1e3)) as source:
        source.backup(copy)


def set_up(connection: Any, _record: Any = None) -> None:
    """Make a new connection durable and patient; a listener for SQLAlchemy's event `connect`.

    A write that has returned is on the disk, and readers (`show`) do not wait for the writer.
    """
    connection.execute(f"PRAGMA busy_timeout={BUSY_MS}")  # first: what follows waits for others too
    _write_ahead(connection)
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")


def _write_ahead(connection: Any) -> None:
    """Switch the database to a write-ahead log.

    SQLite takes a read lock for this and then a write lock, and where another process has that one meanwhile it fails
    at once, whatever its timeout is: two readers that both want to write would wait for each other for ever.
    """
    until = time.monotonic() + BUSY_MS / 1e3
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "readonly" in str(error):
                return  # who may only read has no need of it
            if "locked" not in str(error) or time.monotonic() > until:
                raise
        time.sleep(_AGAIN_S)
