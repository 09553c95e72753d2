"""Brings the tables of a database to what this version of the code works with, when it is opened.

Alembic runs the `migrations` that a database has not had, all in one transaction: it is of this version afterwards, or
as it was before. A database from before there were versions has had none, and the first takes it as it finds it.
"""

from __future__ import annotations

import threading
from pathlib import Path

from sqlalchemy import Connection, Engine, column, inspect, select, table

from raytune_infer.errors import RunError

REVISIONS = ("0001", "0002")
"""All that this version of the code knows, in their order; a test holds them to those in `migrations`."""
VERSION_TABLE = "raytune_infer_version"
"""Not Alembic's own `alembic_version`: other programs in the same database may have that."""
_MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK_KEY = 0x7261_7974_756E_6569
"""Of PostgreSQL's advisory lock, a number that others are unlikely to have: "raytunei" in ASCII."""
_ONE_OF_US = threading.Lock()
"""`alembic.op` stands for one database at a time in a process."""


def upgrade(engine: Engine) -> None:
    """Bring the tables to the last revision; make them in a database that has none.

    Raises:
        RunError: a newer version made them, or another program; the database is left as it was.
    """
    with engine.connect() as connection:
        if _revision_of(connection) == REVISIONS[-1]:
            return
    # Only now: it takes time to import, and nearly every database that is opened is of the last revision. And before
    # the transaction, for which others wait.
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(_MIGRATIONS, version_locations=[_MIGRATIONS])
    # As alembic.command.upgrade does it, without the env.py that it wants: a module that cannot be imported by itself.
    migrations = EnvironmentContext(Config(), scripts, fn=lambda revision, _: scripts._upgrade_revs("head", revision))
    with _ONE_OF_US, engine.connect() as connection:
        _wait_for_others(connection)
        if _revision_of(connection) == REVISIONS[-1]:
            return  # somebody did it meanwhile
        with migrations:
            migrations.configure(connection=connection, version_table=VERSION_TABLE)
            migrations.run_migrations()
        connection.commit()


def _revision_of(connection: Connection) -> str | None:
    """Of the tables; None where none is written down. RunError if this version of the code does not know it."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    revision = connection.scalar(select(column("version_num")).select_from(table(VERSION_TABLE)))
    if revision is None or revision in REVISIONS:
        return revision
    raise RunError(
        f"{connection.engine.url} is of revision {revision}, which a newer version of raytune-infer made; this one "
        f"knows revisions {REVISIONS[0]} to {REVISIONS[-1]}; install the newer version, or name another database"
    )


def _wait_for_others(connection: Connection) -> None:
    """Begin a transaction that no other process which upgrades is in at the same time: who comes second waits."""
    match connection.dialect.name:
        case "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        case "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK_KEY})")
