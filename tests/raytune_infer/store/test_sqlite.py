"""A connection to SQLite waits for others, even where SQLite itself would not."""

import sqlite3

import pytest

from raytune_infer.store import sqlite


@pytest.fixture
def two(tmp_path):
    """Two connections to one database that has no write-ahead log yet."""
    with sqlite3.connect(tmp_path / "history.db") as first, sqlite3.connect(tmp_path / "history.db") as second:
        first.execute("CREATE TABLE t (x)")
        first.commit()
        yield first, second
    first.close()
    second.close()


def test_what_has_returned_is_on_the_disk_and_readers_do_not_wait(two):
    sqlite.set_up(two[0])
    asked = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
    assert [two[0].execute(f"PRAGMA {name}").fetchone()[0] for name in asked] == ["wal", 2, 1, sqlite.BUSY_MS]
    two[0].execute("BEGIN IMMEDIATE")
    assert two[1].execute("SELECT count(*) FROM t").fetchone() == (0,)


def test_a_process_that_writes_meanwhile_is_waited_for(two, monkeypatch):
    two[1].execute("BEGIN IMMEDIATE")
    waited = []

    def pause(seconds):
        waited.append(seconds)
        if len(waited) == 3:
            two[1].commit()

    monkeypatch.setattr(sqlite.time, "sleep", pause)
    sqlite.set_up(two[0])
    assert len(waited) == 3 and two[0].execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_but_not_for_ever_and_for_nothing_else(two, tmp_path, monkeypatch):
    two[1].execute("BEGIN IMMEDIATE")
    now_s = [0.0]
    monkeypatch.setattr(sqlite.time, "monotonic", lambda: now_s[0])
    monkeypatch.setattr(sqlite.time, "sleep", lambda seconds: now_s.__setitem__(0, now_s[0] + 25))
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        sqlite.set_up(two[0])
    assert now_s[0] == 75
    (tmp_path / "text.db").write_text("a diary, and no database at all\n" * 50)
    with sqlite3.connect(tmp_path / "text.db") as other, pytest.raises(sqlite3.DatabaseError, match="not a database"):
        sqlite.set_up(other)
    other.close()
