"""A database that is none, or of another program: refused in words, and left as it was."""

import sqlite3
from contextlib import closing

import pytest

from raytune_infer.errors import RunError
from raytune_infer.store.database import Database


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'history.db'}"


@pytest.mark.parametrize("url", ["not a url", "nosuchdb://x", "sqlite:////no/such/folder/history.db"])
def test_a_database_that_cannot_be_used(url):
    with pytest.raises(RunError, match="cannot use the database"):
        Database(url)


def tables(url: str) -> list[str]:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as file:
        return sorted(sql for (sql,) in file.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL"))


@pytest.mark.parametrize("columns", ["id INTEGER PRIMARY KEY, who TEXT", "id INTEGER PRIMARY KEY, study_id INTEGER"])
def test_a_database_of_another_program_is_refused_and_left_as_it_was(url, columns):
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as file, file:
        file.execute(f"CREATE TABLE trials ({columns})")
    before = tables(url)
    with pytest.raises(
        RunError, match="history.db holds trials of another program, or of a version .* not known; name"
    ):
        Database(url)
    assert tables(url) == before


def test_tables_of_other_names_are_left_alone(url):
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as file, file:
        file.execute("CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL)")
    database = Database(url)
    made = database.create_study(
        name="s", spec="name: s", folder="/", searcher="random", seed=1, trials=3, fingerprint={}, emulated=None
    )
    assert made.id == 1
    database.close()
    assert "CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL)" in tables(url)


def test_what_is_no_database_is_refused(tmp_path):
    (tmp_path / "history.db").write_bytes(b"no database" * 100)
    with pytest.raises(RunError, match="cannot use the database 'sqlite:///.*history.db': .*not a database"):
        Database(f"sqlite:///{tmp_path / 'history.db'}")
