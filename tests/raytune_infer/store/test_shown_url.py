"""URLs of databases in messages and files: no password is in them, however the URL is written."""

import pytest
from sqlalchemy import make_url

from raytune_infer.errors import RunError
from raytune_infer.store.database import Database, shown_url, url_of
from raytune_infer.store.run_folder import RunFolder
from raytune_infer.store.shown_url import has_secret, shown

SECRET = [
    "postgresql+psycopg://tuner:geheim@db.example/x",
    "postgresql+psycopg://tuner:geheim@db.example:5432/x?sslmode=require",
    "postgresql+psycopg://db.example/x?user=tuner&password=geheim",
    "postgresql+psycopg://db.example/x?sslpassword=geheim&user=tuner",
    "postgresql+psycopg://tuner:geheim%2F@db.example/x",
]
BROKEN = [
    "postgresql+psycopg://tuner:geheim@with@db.example/x",
    "postgresql+psycopg://tuner:geheim/9@db.example/x",
    "postgresql+psycopg://tuner:geheim:9@db.example/x",
    "postgresql:/tuner:geheim@db.example/x",
    "tuner:geheim@db.example",
]
OPEN = ["sqlite:///history.db", "postgresql+psycopg://tuner@db.example:5432/x", "sqlite:///C:/runs/a.db", "not a url"]


@pytest.mark.parametrize("url", [*SECRET, *BROKEN])
def test_no_password_is_shown(url):
    assert "geheim" not in shown(url) and "***" in shown(url) and "geheim" not in (shown_url(url) or "")


@pytest.mark.parametrize("url", OPEN)
def test_what_is_no_secret_is_shown_as_it_is(url):
    assert shown(url) == url


@pytest.mark.parametrize("url", SECRET)
def test_a_url_with_a_password_is_known_for_one(url):
    assert has_secret(make_url(url)) and "geheim" not in shown(make_url(url))


@pytest.mark.parametrize("url", [url for url in OPEN if "://" in url])
def test_a_url_without_one_too(url):
    assert not has_secret(make_url(url))


@pytest.mark.parametrize("url", BROKEN[1:])
def test_a_url_that_cannot_be_read_is_refused_without_its_password(url):
    for use in (url_of, Database):
        try:
            make_url(url)
        except Exception:
            with pytest.raises(RunError, match="cannot use the database") as refused:
                use(url)
            assert "geheim" not in str(refused.value)


@pytest.mark.parametrize(("url", "mode"), [(SECRET[0], 0o600), (SECRET[2], 0o600), (None, 0o644)])
def test_the_pointer_to_a_database_with_a_password_is_its_owners_alone(tmp_path, url, mode):
    (tmp_path / "run.json.new").touch(0o666)  # of a process that was killed
    RunFolder(tmp_path, url, 1).save()
    assert (tmp_path / "run.json").stat().st_mode & 0o777 & ~0o022 == mode
