"""Two processes at once, on one database and on one run: nothing is lost, nothing counted twice, and who must wait is
told. They are real ones, and set off together by their pipes."""

from collections.abc import Iterator
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import pytest

from raytune_infer.errors import RunError
from raytune_infer.store.database import Database
from raytune_infer.store.run_folder import open_run
from tests.raytune_infer.store.database_work import begun, obeys, run_in, tried
from tests.raytune_infer.store.raw_tables import as_before_versions
from tests.raytune_infer.study.whole_studies import study, without_ray


@pytest.fixture(scope="module")
def started() -> Iterator[list[tuple[BaseProcess, Connection]]]:
    """Two processes that do what they are sent; started once, as that is what takes time."""
    context = get_context("spawn")
    made: list[tuple[BaseProcess, Connection]] = []
    for _ in range(2):
        ours, theirs = context.Pipe()
        process = context.Process(target=obeys, args=(theirs,), daemon=True)
        process.start()
        theirs.close()
        made.append((process, ours))
    yield made
    for left, _ in made:
        left.kill()
        left.join()


@pytest.fixture
def two(started: list[tuple[BaseProcess, Connection]]) -> list[Connection]:
    """What they are told by."""
    return [pipe for _, pipe in started]


def both(two: list[Connection], name: str, *given: tuple[Any, ...]) -> None:
    """Each is sent its work."""
    for pipe, arguments in zip(two, given, strict=True):
        pipe.send((name, *arguments))


def together(pipes: list[Connection]) -> list[Any]:
    """What each says once all were ready and were told to go."""
    assert [pipe.recv() for pipe in pipes] == ["ready"] * len(pipes)
    for pipe in pipes:
        pipe.send("go")
    return [pipe.recv() for pipe in pipes]


def test_a_database_is_made_and_used_by_two_at_once(two, new_url):
    new = [new_url() for _ in range(12)]
    both(two, "opens", (new,), (new,))
    assert [set(together(two)) for _ in new] == [{1, 2}] * len(new)


def test_a_database_of_an_earlier_version_is_opened_by_two_at_once(two, new_url):
    old = [new_url() for _ in range(8)]
    for url in old:
        Database(url).close()
        as_before_versions(url, "in_place", "overhead", "ended_early", "lost")
    both(two, "opens", (old,), (old,))
    assert [set(together(two)) for _ in old] == [{1, 2}] * len(old)


def test_what_two_write_at_once_is_all_there(two, url):
    Database(url).close()
    both(two, "writes", (url, None, 25, 1000.0), (url, None, 25, 2000.0))
    told = together(two)
    database = Database(url)
    for (study_id, written), first in zip(told, (1000.0, 2000.0), strict=True):
        assert written == [(1 + k, first + k) for k in range(25)]
        assert [(t.number, t.value) for t in database.trials(database.study(study_id))] == written
    database.close()


def test_two_that_write_to_one_study_number_their_trials_apart(two, url):
    """The lock of a run's folder keeps them apart; a copy of the folder, with its database elsewhere, would not."""
    database = Database(url)
    one = begun(database)
    both(two, "writes", (url, one.id, 25, 1000.0), (url, one.id, 25, 2000.0))
    told = together(two)
    written = sorted(trial for _, trials in told for trial in trials)
    assert [number for number, _ in written] == list(range(1, 51))
    assert [(t.number, t.value) for t in database.trials(one)] == written
    database.close()


def test_of_two_that_begin_in_one_folder_at_once_one_is_refused_and_hides_nothing(tmp_path, monkeypatch):
    without_ray(monkeypatch)
    create, refused = Database.create_study, []

    def meanwhile(self, **what):
        monkeypatch.setattr(Database, "create_study", create)
        with pytest.raises(RunError) as error:
            study(tmp_path / "run", searcher="random").run()
        refused.append(str(error.value))
        return create(self, **what)

    monkeypatch.setattr(Database, "create_study", meanwhile)
    result = study(tmp_path / "run", searcher="random").run()
    [said] = refused
    assert "another process is at work on" in said
    database, record = open_run(tmp_path / "run").load()
    assert database.trials(record) == result.trials and len(database.studies()) == 1
    database.close()


def test_a_run_is_one_processs_until_it_ends_however_it_ends(started, tmp_path):
    """Last, as one of the two does not outlive it."""
    run = run_in(tmp_path / "run")
    process, pipe = started[0]
    pipe.send(("holds", str(run.path)))
    assert pipe.recv() == "ready"
    with pytest.raises(RunError, match="another process is at work on .*run; wait for it, or end it"):
        with run.locked():
            raise AssertionError("two are at work")
    # Reading needs no lock: what is finished is shown meanwhile.
    database, record = open_run(run.path).load()
    assert [t.value for t in database.trials(record)] == [5.0]
    pipe.send("be killed")
    with pytest.raises((EOFError, ConnectionResetError)):
        pipe.recv()
    process.join()  # the pipe may be closed before the lock is
    with run.locked():
        assert database.interrupt_running(record) == 1
        assert tried(database, record, 6.0) == (3, 6.0)
    database.close()
