"""Upgrade of a database's tables to this version of the code, when the database is opened.

Alembic runs all missing `migrations` in one transaction: afterwards the database has this version, or is as it was
before. A database from before there were versions has had none; the first migration accepts its tables as they are.
"""

from __future__ import annotations

import threading
from pathlib import Path

from sqlalchemy import Connection, Engine, column, inspect, select, table

from raytune_infer.errors import RunError
from raytune_infer.store.database_url import shown

REVISIONS = ("0001", "0002", "0003", "0004")
"""All revisions that this version of the code knows, in order; a test compares them with `migrations`."""
VERSION_TABLE = "raytune_infer_version"
"""Name of the version table. Not Alembic's `alembic_version`, as other programs in the same database may use that."""
_MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK_KEY = 0x7261_7974_756E_6569
"""Key of PostgreSQL's advisory lock, a number that others are unlikely to use: "raytunei" in ASCII."""
_ONE_OF_US = threading.Lock()
"""Lock between threads, as `alembic.op` refers to one database at a time in a process."""


def upgrade(engine: Engine) -> None:
    """Upgrade the tables to the last revision; create them in a database that has none.

    Raises:
        RunError: the tables are from a newer version or another program; the database is left as it was.
    """
    with engine.connect() as connection:
        if _revision_of(connection) == REVISIONS[-1]:
            return
    # Imported here because it is slow, and nearly every opened database has the last revision; and before the
    # transaction, because others wait for that.
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(_MIGRATIONS, version_locations=[_MIGRATIONS])
    # As in alembic.command.upgrade, but without the env.py that it needs, a module that cannot be imported on its own.
    migrations = EnvironmentContext(Config(), scripts, fn=lambda revision, _: scripts._upgrade_revs("head", revision))
    with _ONE_OF_US, engine.connect() as connection:
        _wait_for_others(connection)
        if _revision_of(connection) == REVISIONS[-1]:
            return  # another process has upgraded it meanwhile
        with migrations:
            migrations.configure(connection=connection, version_table=VERSION_TABLE)
            migrations.run_migrations()
        connection.commit()


def check_current(engine: Engine) -> None:
    """Raise RunError if the tables are not of the last revision; nothing is changed."""
    with engine.connect() as connection:
        if _revision_of(connection) != REVISIONS[-1]:
            raise RunError(
                f"the tables in {shown(engine.url)} are of an earlier version, or there are none, and this command "
                "changes none; `raytune-infer tune --db` with this URL upgrades them"
            )


def _revision_of(connection: Connection) -> str | None:
    """Return the revision of the tables; None if none is recorded. Raises RunError if this version does not know it."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    revision = connection.scalar(select(column("version_num")).select_from(table(VERSION_TABLE)))
    if revision is None or revision in REVISIONS:
        return revision
    raise RunError(
        f"{shown(connection.engine.url)} is of revision {revision}, which a newer version of raytune-infer made; this "
        f"one knows revisions {REVISIONS[0]} to {REVISIONS[-1]}; install the newer version, or name another database"
    )


def _wait_for_others(connection: Connection) -> None:
    """Begin a transaction that waits until no other process is upgrading the database, and keeps others waiting."""
    match connection.dialect.name:
        case "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        case "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK_KEY})")
