"""A database that is none, of another program or of a newer version: refused in words, without its password, and left
as it was."""

import pytest
from sqlalchemy import make_url

from raytune_infer.errors import RunError
from raytune_infer.store.database import Database
from raytune_infer.store.database_url import shown, shown_url, unusable, url_of
from raytune_infer.store.run_folder import RunFolder
from tests.raytune_infer.store.database_work import begun, tried
from tests.raytune_infer.store.raw_tables import VERSION, columns, contents, execute


@pytest.mark.parametrize(
    "nowhere",
    ["not a url", "nosuchdb://x", "sqlite:////no/such/folder/history.db", "postgresql+psycopg://x@127.0.0.1:1/x"],
)
def test_a_database_that_cannot_be_used(nowhere):
    with pytest.raises(RunError, match="cannot use the database .*raytune-infer.postgresql.* postgresql.psycopg://"):
        Database(nowhere)


def test_a_password_is_not_said():
    with pytest.raises(RunError, match="cannot use the database") as refused:
        Database("postgresql+psycopg://someone:secret@127.0.0.1:1/x")
    assert "someone" in str(refused.value) and "secret" not in str(refused.value)


@pytest.mark.parametrize("theirs", ["id INTEGER PRIMARY KEY, who TEXT", "id INTEGER PRIMARY KEY, study_id INTEGER"])
def test_a_database_of_another_program_is_refused_and_left_as_it_was(url, theirs):
    execute(url, f"CREATE TABLE trials ({theirs})", "INSERT INTO trials VALUES (7, NULL)")
    before = columns(url), contents(url)
    with pytest.raises(RunError, match="history.* holds trials of another program, or of a version .* not known; name"):
        Database(url)
    assert (columns(url), contents(url)) == before


def test_a_view_with_the_name_of_a_table_is_another_programs(url):
    execute(url, "CREATE TABLE theirs (id INTEGER PRIMARY KEY)", "CREATE VIEW trials AS SELECT id FROM theirs")
    with pytest.raises(RunError, match="history.* holds trials of another program"):
        Database(url)
    with pytest.raises(RunError, match="history.* holds trials of another program"):
        Database(url)


def test_a_database_of_a_newer_version_is_refused_and_left_as_it_was(url):
    database = Database(url)
    study = begun(database)
    tried(database, study, 5.0)
    database.close()
    execute(url, "ALTER TABLE trials ADD COLUMN mood TEXT", f"UPDATE {VERSION} SET version_num = '9999'")
    before = columns(url), contents(url)
    with pytest.raises(
        RunError, match="history.* is of revision 9999, .* newer .* 0001 to 0004; install the newer version, or name"
    ):
        Database(url)
    assert (columns(url), contents(url)) == before


def test_versions_of_another_program_in_the_same_database_are_left_alone(url):
    execute(
        url, "CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)",
        "INSERT INTO alembic_version VALUES ('theirs')",
    )  # fmt: skip
    Database(url).close()
    assert contents(url)["alembic_version"] == [{"version_num": "theirs"}]


def test_tables_of_other_names_are_left_alone(url):
    execute(url, "CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL)")
    database = Database(url)
    made = database.create_study(
        name="s", spec="name: s", folder="/", searcher="random", seed=1, trials=3, fingerprint={}, emulated=None
    )
    assert made.id == 1
    database.close()
    assert columns(url)["customers"] == ["id", "name"]


def test_what_is_no_database_is_refused(tmp_path):
    (tmp_path / "history.db").write_bytes(b"no database" * 100)
    with pytest.raises(RunError, match="cannot use the database 'sqlite:///.*history.db': .*not a database"):
        Database(f"sqlite:///{tmp_path / 'history.db'}")


SECRET = [
    "postgresql+psycopg://tuner:geheim@db.example/x",
    "postgresql+psycopg://tuner:geheim@db.example:5432/x?sslmode=require",
    "postgresql+psycopg://db.example/x?user=tuner&password=geheim",
    "postgresql+psycopg://db.example/x?sslpassword=geheim&user=tuner",
    "postgresql+psycopg://tuner:geheim%2F@db.example/x",
    "postgresql+psycopg://db.example/x?api_key=geheim",
    "postgresql+psycopg://db.example/x?pass%77ord=geheim",
    "mssql+pyodbc:///?odbc_connect=DRIVER%3D%7Bx%7D%3BSERVER%3Dh%3BUID%3Du%3BPWD%3Dgeheim%3BEncrypt%3Dyes",
    "mssql+pyodbc:///?odbc_connect=DRIVER={x};SERVER=h;PWD={ge;geheim}",
    "mssql+pyodbc:///?odbc_connect=SERVER%3Dh%3Bpassword+%3D+a+geheim",
    "postgresql+psycopg://db.example/x?PASS%57ORD=geheim",
]
BROKEN = [
    "postgresql+psycopg://tuner:geheim@with@db.example/x",
    "postgresql+psycopg://tuner:geheim/9@db.example/x",
    "postgresql+psycopg://tuner:geheim:9@db.example/x",
    "postgresql:/tuner:geheim@db.example/x",
    "tuner:geheim@db.example",
    "postgresql://tuner:geheim",
    "postgresql://tuner:geheim/x?sslmode=require",
    "postgresql://tuner:1geheim?x=y",
    "host=h user=u password=geheim",
    "host=h password = 'a \\' b=geheim' user=u",
    "host=h password=a;geheim user=u",
    "DRIVER={x};SERVER=h;UID=u;PWD=a geheim;Encrypt=yes",
]
OPEN = [
    "sqlite:///history.db", "postgresql+psycopg://tuner@db.example:5432/x", "sqlite:///C:/runs/a.db", "not a url",
    "postgresql://db.example:5432/x?sslmode=require", "postgresql://db.example:5432", "postgresql://[::1]:5432/x",
    "postgresql://a:5432,b:5433/x", "host=h user=u dbname=x",
    "mssql+pyodbc:///?odbc_connect=DRIVER%3D%7Bx%7D%3BSERVER%3Dh", "C:/runs/a.db",
]  # fmt: skip


@pytest.mark.parametrize("url", [*SECRET, *BROKEN])
def test_no_password_is_shown(url):
    assert "geheim" not in shown(url) and "***" in shown(url) and "geheim" not in (shown_url(url) or "")
    assert shown(shown(url)) == shown(url)  # a run keeps what is shown, and compares it with what is named again


def test_what_is_beside_a_password_is_shown():
    """By it databases are told apart: a run goes on in the one that it was begun in."""
    assert shown("host=h password='a b' dbname=x") == "host=h password=*** dbname=x"
    assert "SERVER%3Dh" in shown(SECRET[7]) and "Encrypt%3Dyes" in shown(SECRET[7])


def test_the_words_of_a_driver_are_said_without_a_password():
    said = str(unusable("postgresql://h/x", RuntimeError("bad dsn: host=h password=geheim user=u")))
    assert "geheim" not in said and "host=h password=*** user=u" in said


@pytest.mark.parametrize("url", OPEN)
def test_what_is_no_secret_is_shown_as_it_is(url):
    assert shown(url) == url


@pytest.mark.parametrize("url", BROKEN[1:])
def test_a_url_that_cannot_be_read_is_refused_without_its_password(url):
    for use in (url_of, Database):
        try:
            make_url(url)
        except Exception:
            with pytest.raises(RunError, match="cannot use the database") as refused:
                use(url)
            assert "geheim" not in str(refused.value)


@pytest.mark.parametrize("url", [SECRET[0], SECRET[2], None])
def test_the_pointer_to_a_database_with_a_password_is_its_owners_alone(tmp_path, url):
    (tmp_path / "run.json.new").touch(0o666)  # of a process that was killed
    RunFolder(tmp_path, url, 1).save()
    assert (tmp_path / "run.json").stat().st_mode & 0o777 == 0o600
    assert "geheim" not in (tmp_path / "run.json").read_text()
