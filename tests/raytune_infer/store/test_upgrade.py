"""Tables have versions: what an earlier revision left becomes what this one works with, and nothing of it is lost."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import make_url

from raytune_infer.errors import RunError
from raytune_infer.store.database import Database
from raytune_infer.store.migrations import revision_1, revision_2, revision_3, revision_4
from raytune_infer.store.tables import Base
from raytune_infer.store.upgrade import REVISIONS, VERSION_TABLE
from tests.raytune_infer.postgresql import Server
from tests.raytune_infer.store.database_work import begun, tried
from tests.raytune_infer.store.earlier_runs import DATA, DUMPED, EARLIER
from tests.raytune_infer.store.raw_tables import VERSION, as_before_versions, columns, contents, execute, raw, rows

Restore = Callable[[Path], str]
SQLITE = sorted(DATA.glob("*/*/history.db"))
POSTGRESQL = sorted(DATA.glob(f"*/{DUMPED}.sql"))


@pytest.fixture
def restored(tmp_path, request) -> Iterator[Restore]:
    """Called with a file of an earlier revision: the URL of a database that has what is in it."""

    def restore(file: Path) -> str:
        if file.suffix == ".db":
            return f"sqlite:///{shutil.copy(file, tmp_path)}"
        up: Server = request.getfixturevalue("postgresql")
        url = databases.enter_context(up.database())
        up.run("psql", "--quiet", "--set=ON_ERROR_STOP=1", make_url(url).database, input=file.read_text())
        return url

    with ExitStack() as databases:
        yield restore


def of_each_kind() -> pytest.MarkDecorator:
    files = [*SQLITE, *POSTGRESQL]
    return pytest.mark.parametrize("file", files, ids=[str(file.relative_to(DATA)) for file in files])


def differences(url: str) -> list[Any]:
    """What Alembic would change about the tables there so that they are those that the code works with."""
    with raw(url) as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        return compare_metadata(context, Base.metadata)


def everything(url: str) -> list[Any]:
    database = Database(url)
    try:
        return [(study, study.created_at, database.trials(study)) for study in database.studies()]
    finally:
        database.close()


def test_there_are_databases_of_every_revision_before_there_were_versions():
    assert {file.parts[-3] for file in SQLITE} == {path.name for path in EARLIER} >= {"368b5ef"}
    assert [file.parent.name for file in POSTGRESQL] == ["368b5ef"]


def test_the_revisions_are_the_files_that_there_are_one_after_another():
    folder = Path(revision_1.__file__).parent
    modules = (revision_1, revision_2, revision_3, revision_4)
    assert {file.stem for file in folder.glob("*.py")} - {"__init__"} == {m.__name__.split(".")[-1] for m in modules}
    assert tuple(m.revision for m in modules) == REVISIONS
    assert [m.down_revision for m in modules] == [None, *REVISIONS[:-1]]


def test_a_new_database_has_the_tables_that_the_code_works_with(url):
    Database(url).close()
    assert differences(url) == []
    assert rows(url, f"SELECT version_num FROM {VERSION}") == [(REVISIONS[-1],)]


def test_that_a_table_is_not_what_the_code_works_with_is_noticed(url):
    Database(url).close()
    execute(url, "ALTER TABLE trials ADD COLUMN mood TEXT", "DROP INDEX ix_measurements_trial_id")
    assert {difference[0] for difference in differences(url)} == {"remove_column", "add_index"}


@of_each_kind()
def test_a_database_of_an_earlier_revision_gets_the_same_tables_and_keeps_every_record(file, restored):
    url = restored(file)
    before = contents(url)
    assert before["studies"] and before["trials"] and before["measurements"] and VERSION not in before
    Database(url).close()
    after = contents(url)
    assert after.pop(VERSION) == [{"version_num": REVISIONS[-1]}]
    assert after.pop("operator_points") == []
    added = set(after["trials"][0]) - set(before["trials"][0])
    for trial in after["trials"]:
        assert {trial.pop(name) for name in added} <= {None}
    assert after == before
    assert differences(url) == []


@of_each_kind()
def test_one_that_was_opened_is_only_read_when_it_is_opened_again(file, restored):
    url = restored(file)
    first = everything(url)
    before = contents(url)
    with raw(url) as other:
        # Another program has begun to write, so whoever wants to write now, or change a table, has to wait.
        other.exec_driver_sql("UPDATE trials SET number = number")
        assert everything(url) == first
    assert contents(url) == before


def test_what_was_written_into_postgresql_is_read_as_what_was_written_into_sqlite(restored):
    [dump] = POSTGRESQL
    [there], [here] = (everything(restored(file)) for file in (dump, dump.parent / "cut" / "history.db"))
    # What a trial did apart from measuring took the time that it took.
    for left, right in zip(there[2], here[2], strict=True):
        assert left.outcome.overhead.keys() == right.outcome.overhead.keys()
        assert replace(left, outcome=replace(left.outcome, overhead={})) == replace(
            right, outcome=replace(right.outcome, overhead={})
        )
    assert there[:2] == here[:2] and len(there[2]) == 5


def test_an_upgrade_that_fails_half_way_changes_nothing(url):
    database = Database(url)
    tried(database, begun(database), 5.0)
    database.close()
    as_before_versions(url, "lost", "overhead")
    # Tables are completed before those that are not there are made, which fails at an index of that name.
    execute(url, "DROP TABLE measurements", "CREATE INDEX ix_measurements_trial_id ON trials (position)")
    before = columns(url), contents(url)
    with pytest.raises(RunError, match="cannot use the database .*ix_measurements_trial_id"):
        Database(url)
    assert (columns(url), contents(url)) == before
    execute(url, "DROP INDEX ix_measurements_trial_id")
    [(_, _, [trial])] = everything(url)
    assert (trial.value, trial.outcome.lost) == (5.0, None) and differences(url) == []


def test_nor_does_one_of_whose_revisions_the_second_fails(postgresql):
    with postgresql.database() as url:
        database = Database(url)
        tried(database, begun(database), 5.0)
        database.close()
        as_before_versions(url, "lost")
        execute(url, "ALTER TABLE studies ALTER COLUMN name TYPE VARCHAR(200)")
        execute(url, "CREATE VIEW names AS SELECT name FROM studies")  # a column that is seen keeps its type
        before = columns(url), contents(url)
        with pytest.raises(RunError, match="cannot use the database .*used by a view"):
            Database(url)
        assert (columns(url), contents(url)) == before
        execute(url, "DROP VIEW names")
        [(_, _, [trial])] = everything(url)
        assert trial.value == 5.0 and differences(url) == []


def test_a_database_that_lacks_whole_tables_gets_them(url):
    database = Database(url)
    begun(database)
    database.close()
    as_before_versions(url)
    execute(url, "DROP TABLE measurements", "DROP TABLE trials")
    [(study, _, trials)] = everything(url)
    assert (study.name, trials) == ("s", ()) and differences(url) == []
