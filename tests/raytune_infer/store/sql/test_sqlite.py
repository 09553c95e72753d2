"""A connection to SQLite waits for others, even where SQLite itself would not; who only reads leaves all as it is."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.exc import DBAPIError

from raytune_infer.errors import RunError
from raytune_infer.store.database import Database
from raytune_infer.store.run_folder import open_run
from raytune_infer.store.sql import sqlite
from raytune_infer.store.upgrade import REVISIONS
from tests.raytune_infer.store.database_work import begun, run_in, tried
from tests.raytune_infer.store.earlier_runs import EARLIER
from tests.raytune_infer.store.raw_tables import as_before_versions, contents

KILLED = """\
import os, signal, sys
from pathlib import Path
from raytune_infer.store.run_folder import RunFolder
from tests.raytune_infer.store.database_work import begun, tried

Path(sys.argv[1]).mkdir()
run = RunFolder(Path(sys.argv[1]), None, 1)
database = run.database()
tried(database, begun(database), 5.0)
run.save()
os.kill(os.getpid(), signal.SIGKILL)
"""


def as_it_is(folder: Path) -> dict[str, tuple[bytes, int]]:
    """What is in a folder, but for SQLite's index of its log, in which every reader says that it is there."""
    return {
        path.name: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.iterdir()
        if not path.name.endswith("-shm")
    }


def values(folder: Path) -> list[float | None]:
    return [trial.value for trial in open_run(folder).read()[1]]


def killed_in(folder: Path) -> None:
    """A run whose process was killed, with what it has written last in SQLite's log."""
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    ended = subprocess.run([sys.executable, "-c", KILLED, folder], env=environment, check=False)
    assert ended.returncode == -signal.SIGKILL and (folder / "history.db-wal").stat().st_size


def with_log(folder: Path) -> None:
    killed_in(folder)


def with_log_alone(folder: Path) -> None:
    killed_in(folder)
    (folder / "history.db-shm").unlink()


def closed(folder: Path) -> None:
    run_in(folder)


@pytest.mark.parametrize("made", [closed, with_log, with_log_alone])
def test_reading_a_run_changes_no_file_and_adds_none(tmp_path, made: Callable[[Path], None]):
    made(tmp_path / "run")
    before, names = as_it_is(tmp_path / "run"), sorted(os.listdir(tmp_path / "run"))
    assert values(tmp_path / "run") == [5.0] and not open_run(tmp_path / "run").unfinished()
    assert as_it_is(tmp_path / "run") == before and sorted(os.listdir(tmp_path / "run")) == names


def test_a_run_that_is_being_written_is_read_meanwhile(tmp_path):
    run = run_in(tmp_path / "run")
    database, study = run.load()
    tried(database, study, 7.0)
    assert values(run.path) == [5.0, 7.0]
    tried(database, study, 9.0)
    assert values(run.path) == [5.0, 7.0, 9.0]
    database.close()


@pytest.mark.parametrize("earlier", EARLIER, ids=lambda path: path.name)
def test_a_run_of_an_earlier_version_is_read_and_stays_of_that_version(tmp_path, earlier):
    folder = Path(shutil.copytree(earlier / "done", tmp_path / "done"))
    before = as_it_is(folder)
    study, trials = open_run(folder).read()
    assert study.trials == 24 and len(trials) >= 24
    assert as_it_is(folder) == before


def test_a_database_on_a_server_is_only_read_and_never_upgraded(url):
    database = Database(url)
    study = begun(database)
    tried(database, study, 5.0)
    database.close()
    before = contents(url)
    reading = Database(url, read_only=True)
    assert [trial.value for trial in reading.trials(study)] == [5.0]
    if not url.startswith("sqlite"):
        with pytest.raises(DBAPIError, match="read-only"):
            tried(reading, study, 6.0)
    reading.close()
    assert contents(url) == before
    as_before_versions(url, "lost")
    before = contents(url)
    if url.startswith("sqlite"):
        Database(url, read_only=True).close()
    else:
        with pytest.raises(RunError, match="earlier version, or there are none, .*`raytune-infer tune --db` with"):
            Database(url, read_only=True)
    assert contents(url) == before


def test_what_is_no_database_or_of_a_newer_version_is_a_sentence(tmp_path):
    (tmp_path / "text.db").write_text("a diary, and no database at all\n" * 50)
    with pytest.raises(RunError, match=r"cannot use the database 'sqlite:///.*text.db': .*not a database"):
        Database(f"sqlite:///{tmp_path / 'text.db'}", read_only=True)
    run = run_in(tmp_path / "run")
    with closing(sqlite3.connect(run.path / "history.db")) as there:
        there.execute("UPDATE raytune_infer_version SET version_num = '9999'")
        there.commit()
    with pytest.raises(RunError, match=rf"run/history.db is of revision 9999, .*to {REVISIONS[-1]}"):
        run.read()


def test_nothing_in_somebody_elses_database_runs(tmp_path):
    """A view may call functions, and a trigger may run when old tables are upgraded."""
    folder = Path(shutil.copytree(EARLIER[0] / "done", tmp_path / "done"))
    with closing(sqlite3.connect(folder / "history.db")) as there:
        there.execute("CREATE TRIGGER evil AFTER UPDATE ON trials BEGIN DELETE FROM studies; END")
        there.commit()
    study, _ = open_run(folder).read()
    assert study.trials == 24
    with closing(sqlite3.connect(folder / "history.db")) as there:
        assert there.execute("SELECT count(*) FROM studies").fetchone() >= (1,)


def test_no_view_in_somebody_elses_database_calls_a_function_with_effects(tmp_path):
    run = run_in(tmp_path / "run")
    with closing(sqlite3.connect(run.path / "history.db")) as there:
        there.execute("CREATE VIEW evil AS SELECT effect()")
        there.commit()
    called = []
    with closing(sqlite.copied(run.path / "history.db")) as copy:
        copy.create_function("effect", 0, lambda: called.append(1))
        with pytest.raises(sqlite3.OperationalError, match="unsafe use of effect"):
            copy.execute("SELECT * FROM evil").fetchall()
    assert not called


# --- waiting for others


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
