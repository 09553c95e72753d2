"""How a connection to a SQLite database is set up: what is written is kept, and several processes can work at once."""

from __future__ import annotations

import sqlite3
import time
from typing import Any

BUSY_MS = 60_000
"""How long a process waits for another one's write. Our choice: on a busy machine SQLite's usual 5 s were too few."""
_AGAIN_S = 0.02
"""Pause before what is locked is tried once more. Our choice."""


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
