"""A database as a program of one's own sees it: by SQL, and without a word of ours."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, create_engine, inspect, text

VERSION = "raytune_infer_version"


@contextmanager
def raw(url: str) -> Iterator[Connection]:
    """A connection in a transaction that is committed."""
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def execute(url: str, *statements: str) -> None:
    with raw(url) as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def rows(url: str, question: str) -> list[tuple[Any, ...]]:
    """What it answers."""
    with raw(url) as connection:
        return [tuple(row) for row in connection.execute(text(question))]


def columns(url: str) -> dict[str, list[str]]:
    """Of each table, and of each view, in their order."""
    with raw(url) as connection:
        found = inspect(connection)
        names = [*found.get_table_names(), *found.get_view_names()]
        return {name: [column["name"] for column in found.get_columns(name)] for name in names}


def contents(url: str) -> dict[str, list[dict[str, Any]]]:
    """All rows of all tables, by their keys; JSON as text."""
    with raw(url) as connection:
        found = {}
        for table in inspect(connection).get_table_names():
            answer = connection.execute(text(f"SELECT * FROM {table}"))
            found[table] = sorted((dict(row._mapping) for row in answer), key=lambda row: row.get("id", 0))
        return found


_LATER = ("answers",)
"""Columns of trials that the first revision did not have."""
_LATER_TABLES = ("operator_points",)
"""Tables that it did not have."""


def as_before_versions(url: str, *lacking: str) -> None:
    """The database becomes one that had no versions yet, and these columns of its trials neither."""
    columns = (*_LATER, *lacking)
    later = [f"DROP TABLE {table}" for table in _LATER_TABLES]
    execute(url, f"DROP TABLE {VERSION}", *later, *(f"ALTER TABLE trials DROP COLUMN {column}" for column in columns))
