"""What tests of the application need: databases on SQLite and on PostgreSQL, and a folder for a Ray."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

from tests.raytune_infer.postgresql import Server, programs, server


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    """One server for all tests of a process."""
    found = programs()
    if found is None:
        pytest.skip("PostgreSQL's server is not installed (Debian: apt-get install postgresql)")
    with server(found) as up:
        yield up


@pytest.fixture(params=["sqlite", "postgresql"])
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], str]]:
    """Called for the URL of a database that has no tables yet, as often as wanted."""
    if request.param == "sqlite":
        numbers = count(1)
        yield lambda: f"sqlite:///{tmp_path / f'history-{next(numbers)}.db'}"
        return
    up: Server = request.getfixturevalue("postgresql")
    with ExitStack() as databases:
        yield lambda: databases.enter_context(up.database())


@pytest.fixture
def url(new_url: Callable[[], str]) -> str:
    """The URL of a database that has no tables yet."""
    return new_url()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The same of SQLite alone, for what only that has."""
    return f"sqlite:///{tmp_path / 'history.db'}"


@pytest.fixture
def short_folder() -> Iterator[str]:
    """Ray's sockets are in it: their names have a bound, which those of `tmp_path` break."""
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield folder
