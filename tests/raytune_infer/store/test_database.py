"""The history: what was written is there after a crash, and nothing is counted twice."""

import dataclasses
import datetime as dt
import math
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError

from raytune_infer.errors import RunError
from raytune_infer.store.database import Database
from raytune_infer.store.records import Outcome, TrialRecord, observations
from searchers.base import Observation
from serve_deployments.metrics.answers.agreement import AnswerAgreement
from tests.levels import a_level
from tests.raytune_infer.store.raw_tables import as_before_versions, execute, raw, rows

CONFIG: dict[str, Any] = {"max_batch_size": 4, "precision": "float32"}
LEVEL = a_level(5.0, started_at=10.0, ended_at=12.5)


def new_study(database: Database):
    return database.create_study(
        name="s",
        spec="name: s",
        folder="/",
        searcher="random",
        seed=1,
        trials=3,
        fingerprint={"knob": "a"},
        emulated=None,
    )


def start(database, study, purpose="search", position=7):
    key, _ = database.start_trial(
        study, purpose=purpose, position=position, config=CONFIG, usd_per_hour=0.5, emulated=False
    )
    return key


def test_a_trial_comes_back_as_it_was(url):
    database = Database(url)
    study = new_study(database)
    outcome = Outcome({"rps": 4.0}, levels=(LEVEL,), client_limited=True, enforcements=({"limit": "cpu_cores"},),
                      hostname="h", settings={"cpu_cores": 1})  # fmt: skip
    database.finish_trial(start(database, study), outcome, 8.0)
    database.close()
    [trial] = Database(url).trials(study)
    assert trial.outcome == outcome
    assert (trial.number, trial.position, trial.config, trial.value) == (1, 7, CONFIG, 8.0)


STUDY: dict[str, Any] = {
    "name": "known", "spec": "name: known\n", "folder": "/some/where", "searcher": "meta", "seed": 17, "trials": 23,
    "fingerprint": {"knobs": ["a", 1], "samples": "x"}, "emulated": "two-t4",
}  # fmt: skip
OUTCOME: dict[str, Any] = {
    "metrics": {"rps": 4.0, "p99_ms": 31.5}, "reason": "NoRate: once", "levels": (LEVEL, replace(LEVEL, steady=False)),
    "reported": 1, "interval_rps": (3.5, 4.5), "ended": "the limit is near", "client_limited": True,
    "enforcements": ({"limit": "cpu_cores", "enforced": True}, {"limit": "gpu_share"}), "hostname": "box",
    "settings": {"cpu_cores": 2}, "in_place": True, "ended_early": True, "overhead": {"deploy": 1.5},
    "lost": "ReplicaDied: 9",
    "answers": AnswerAgreement(32, {"answers_same": 0.5}, {"answers_same": 0.75}, True, "sample 3: 1 and 2"),
}  # fmt: skip
"""Every field, each with another value than it has unless it is told."""


def test_everything_of_a_study_comes_back_however_it_is_read(url):
    database = Database(url)
    made = database.create_study(**STUDY)
    database.close()
    again = Database(url)
    for read in (made, again.study(made.id), *again.studies()):
        assert read == made and read.created_at == made.created_at
        assert {field.name: getattr(read, field.name) for field in dataclasses.fields(read)} == {
            **STUDY, "id": made.id, "created_at": made.created_at,
        }  # fmt: skip
    assert len(again.studies()) == 1


def test_everything_of_an_outcome_comes_back(url):
    names = [field.name for field in dataclasses.fields(Outcome)]
    defaults = Outcome(None)
    assert all(OUTCOME[name] != getattr(defaults, name) for name in names) and len(OUTCOME) == len(names)
    database = Database(url)
    study = database.create_study(**STUDY)
    key, number = database.start_trial(
        study, purpose="final", position=5, config=CONFIG, usd_per_hour=0.25, emulated=True
    )
    finished = database.finish_trial(key, Outcome(**OUTCOME), 8.0)
    database.close()
    [read] = Database(url).trials(study)
    for trial in (finished, read):
        assert trial == TrialRecord(number, "final", 5, CONFIG, 0.25, 8.0, Outcome(**OUTCOME), read.seconds, True)


def test_a_search_that_goes_on_knows_its_trials_in_the_order_in_which_they_began(url):
    """What comes last decides which replica is still there, and which of equals was first."""
    database = Database(url)
    study = new_study(database)
    for position, rps in ((4, 7.0), (2, 9.0), (6, None), (0, 8.0)):
        outcome = Outcome(None, reason="OutOfMemory: no") if rps is None else Outcome({"rps": rps})
        database.finish_trial(start(database, study, position=position), outcome, rps)
    known = observations(database.trials(study))
    assert known.observed == (
        Observation(4, {"rps": 7.0}), Observation(2, {"rps": 9.0}), Observation(6, None), Observation(0, {"rps": 8.0}),
    )  # fmt: skip
    assert not known.pending


def test_what_is_measured_anew_counts_no_longer_and_nothing_else_is_touched(url):
    database = Database(url)
    one, other = new_study(database), new_study(database)
    for study in (one, other):
        for purpose in ("search", "final", "final", "final"):
            database.finish_trial(start(database, study, purpose), Outcome({"rps": 4.0}), 4.0)
    database.supersede(one, [1, 3, 4])
    database.close()
    again = Database(url)
    assert [t.number for t in again.trials(one)] == [1, 2]  # the first is of the search
    assert [t.number for t in again.trials(other)] == [1, 2, 3, 4]


@pytest.mark.parametrize(("low", "high"), [(650.0, 910.0), (100.0, 389.0)])
def test_an_interval_without_its_rate_as_earlier_versions_stored_some_is_left_out(url, low, high):
    database = Database(url)
    study = new_study(database)
    database.finish_trial(start(database, study), Outcome({"rps": 390.0}, interval_rps=(350.0, 420.0)), 8.0)
    database.close()
    assert [t.outcome.interval_rps for t in Database(url).trials(study)] == [(350.0, 420.0)]
    execute(url, f"UPDATE trials SET rate_low_rps = {low}, rate_high_rps = {high}")
    assert [t.outcome.interval_rps for t in Database(url).trials(study)] == [None]


def test_what_an_earlier_version_wrote_is_read(url):
    database = Database(url)
    study = new_study(database)
    database.finish_trial(start(database, study), Outcome({"rps": 4.0}, in_place=True, overhead={"change": 0.5}), 8.0)
    database.close()
    as_before_versions(url, "in_place", "overhead", "ended_early")
    again = Database(url)
    [trial] = again.trials(study)
    assert (trial.value, trial.outcome.in_place, trial.outcome.overhead_s) == (8.0, None, 0.0)
    more: dict[str, Any] = {"ended_early": True, "overhead": {"deploy": 2.0, "leave": 1.0}, "interval_rps": (3.5, 4.5)}
    outcome = Outcome({"rps": 4.0}, in_place=False, **more)
    again.finish_trial(start(again, study), outcome, 8.0)
    assert again.trials(study)[1].outcome == outcome and outcome.overhead_s == 3.0


def test_only_finished_trials_count_and_an_interrupted_one_never_does(url):
    database = Database(url)
    study = new_study(database)
    database.finish_trial(start(database, study), Outcome(None, reason="OutOfMemory: no"), None)
    lost = start(database, study)
    assert len(database.trials(study)) == 1
    assert database.interrupt_running(study) == 1
    assert database.interrupt_running(study) == 0
    # Its late answer, from a process that outlived the driver, changes nothing.
    assert database.finish_trial(lost, Outcome({"rps": 1.0}), 1.0).value is None
    assert [t.number for t in database.trials(study)] == [1]
    assert start(database, study) and len(database.trials(study)) == 1
    assert database.set_aside(study) == {"interrupted": (2,)}  # the third one is running
    database.finish_trial(start(database, study, "final"), Outcome({"rps": 1.0}), 1.0)
    database.extend(study, 9)
    assert database.set_aside(study) == {"interrupted": (2,), "superseded": (4,)}


def test_a_finished_trial_stays_as_it_is(url):
    database = Database(url)
    study = new_study(database)
    key = start(database, study)
    database.finish_trial(key, Outcome({"rps": 4.0}), 4.0)
    assert database.finish_trial(key, Outcome(None, reason="late"), None).value == 4.0


def test_a_search_does_not_learn_from_the_final_comparison(url):
    database = Database(url)
    study = new_study(database)
    for purpose, rps in (("search", 4.0), ("final", 5.0)):
        database.finish_trial(start(database, study, purpose), Outcome({"rps": rps}), rps)
    assert [o.metrics for o in observations(database.trials(study)).observed] == [{"rps": 4.0}]


def test_an_unknown_price_is_kept_as_unknown(url):
    database = Database(url)
    study = new_study(database)
    key, _ = database.start_trial(
        study, purpose="search", position=0, config=CONFIG, usd_per_hour=math.nan, emulated=True
    )
    trial = database.finish_trial(key, Outcome({"rps": 1.0}), 1.0)
    assert math.isnan(trial.usd_per_hour) and trial.emulated


def test_levels_come_back_in_the_order_in_which_they_were_held(url):
    database = Database(url)
    study = new_study(database)
    loads = tuple(replace(LEVEL, requested_rps=rps) for rps in (5.0, 40.0, 10.0, 20.0))
    for _ in range(2):
        outcome = Outcome({"rps": 4.0}, levels=loads, reported=3, interval_rps=(3.0, 5.0), ended="known", lost="once")
        database.finish_trial(start(database, study), outcome, 4.0)
    assert [trial.outcome for trial in database.trials(study)] == [outcome, outcome]


def since_noon_s(moment: str | dt.datetime) -> float:
    """Of the first day of 2026, as a program of one's own reads a moment: SQLite has it as text."""
    read = moment if isinstance(moment, dt.datetime) else dt.datetime.fromisoformat(moment)
    return (read - dt.datetime(2026, 1, 1, 12)).total_seconds()


def test_the_tables_tell_when_each_level_trial_and_study_began_and_ended(url, monkeypatch):
    """In UTC, though the machine is elsewhere; a level's moments are seconds since 1970."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        moments = iter(dt.datetime(2026, 1, 1, 12) + dt.timedelta(seconds=s) for s in (0, 10, 20, 30, 40))
        monkeypatch.setattr("raytune_infer.store.database._now", lambda: next(moments))
        database = Database(url)
        study = new_study(database)
        first, second = start(database, study), start(database, study, "final")
        noon_s = 1767268800.0  # of that day, since 1970
        begun = noon_s + 21.5
        levels = (replace(LEVEL, started_at=begun, ended_at=begun + 2.25), LEVEL)
        database.finish_trial(second, Outcome({"rps": 4.0}, levels=levels), 4.0)
        database.interrupt_running(study)
        database.close()
    finally:
        monkeypatch.undo()
        time.tzset()
    [(study_id, created_at)] = rows(url, "SELECT id, created_at FROM studies")
    assert (study_id, since_noon_s(created_at)) == (study.id, 0)
    assert [
        (number, purpose, state, since_noon_s(started_at), since_noon_s(finished_at))
        for number, purpose, state, started_at, finished_at in rows(
            url, "SELECT number, purpose, state, started_at, finished_at FROM trials ORDER BY number"
        )
    ] == [(1, "search", "interrupted", 10, 40), (2, "final", "finished", 20, 30)]
    held = rows(url, "SELECT trial_id, started_at, finished_at FROM measurements ORDER BY id")
    assert [(trial_id, since_noon_s(begins), since_noon_s(ends)) for trial_id, begins, ends in held] == [
        (second, 21.5, 23.75),
        (second, 10 - noon_s, 12.5 - noon_s),
    ]
    assert first != second


def test_trials_come_in_the_order_of_their_numbers_and_end_when_they_end(url, monkeypatch):
    moments = iter(dt.datetime(2026, 1, 1) + dt.timedelta(seconds=s) for s in range(0, 700, 100))
    monkeypatch.setattr("raytune_infer.store.database._now", lambda: next(moments))
    database = Database(url)
    study = new_study(database)
    keys = [start(database, study) for _ in range(3)]  # at 100, 200 and 300 s
    for key, rps in zip(reversed(keys), (1.0, 3.0, 2.0), strict=True):  # at 400, 500 and 600 s
        database.finish_trial(key, Outcome({"rps": rps}), rps)
    found = database.trials(study)
    assert [(t.number, t.value, t.seconds) for t in found] == [(1, 2.0, 500.0), (2, 3.0, 300.0), (3, 1.0, 100.0)]
    # What ended before some moment, that moment not included.
    before = database.trials(study, before=dt.datetime(2026, 1, 1) + dt.timedelta(seconds=500))
    assert [t.number for t in before] == [3]


def test_moments_mean_the_same_on_every_machine(url, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        created_at = new_study(Database(url)).created_at
    finally:
        monkeypatch.undo()
        time.tzset()
    assert abs(created_at - dt.datetime.now(dt.UTC).replace(tzinfo=None)) < dt.timedelta(hours=1)


def test_a_reader_does_not_wait_for_the_writer(url):
    database = Database(url)
    study = new_study(database)
    database.finish_trial(start(database, study), Outcome({"rps": 4.0}), 4.0)
    with raw(url) as writer:
        writer.exec_driver_sql("UPDATE trials SET value = 5.0")
        assert [t.value for t in database.trials(study)] == [4.0]
    assert [t.value for t in database.trials(study)] == [5.0]
    database.close()


def test_nor_does_it_wait_where_the_writer_has_the_whole_file(sqlite_url):
    database = Database(sqlite_url)
    study = new_study(database)
    database.finish_trial(start(database, study), Outcome({"rps": 4.0}), 4.0)
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        assert [t.value for t in database.trials(study)] == [4.0]
        writer.execute("ROLLBACK")
    database.close()


def test_what_was_written_is_on_the_disk(sqlite_url):
    with Database(sqlite_url)._engine.connect() as connection:
        # SQLite: 2 is FULL, a commit waits for the disk; 1 at a foreign key means that it is looked after.
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


@pytest.fixture
def impatient(url):
    """Another program that writes, and does not wait for whoever is at it."""
    waits = {"timeout": 0} if url.startswith("sqlite") else {"options": "-c lock_timeout=1"}
    engine = create_engine(url, connect_args=waits)
    yield engine
    engine.dispose()


def test_while_it_is_written_how_a_trial_ended_nobody_else_writes_it(url, impatient, monkeypatch):
    """A run that goes on sets a trial aside in the moment in which the process that had begun it finishes it."""
    database = Database(url)
    study = new_study(database)
    asked = []

    def meanwhile() -> dt.datetime:
        asked.append("to write")
        with pytest.raises(OperationalError, match="locked|lock timeout"), impatient.begin() as other:
            other.exec_driver_sql("UPDATE trials SET state = 'interrupted'")
        return dt.datetime(2026, 1, 1)

    finished, _ = start(database, study), start(database, study)
    monkeypatch.setattr("raytune_infer.store.database._now", meanwhile)
    assert database.finish_trial(finished, Outcome({"rps": 4.0}), 4.0).value == 4.0
    assert database.interrupt_running(study) == 1
    assert len(asked) == 2
    database.close()


def test_a_server_that_was_started_anew_meanwhile_is_connected_to_again(postgresql):
    """A run lasts for hours, and a trial minutes, in which nobody asks the database."""
    with postgresql.database() as url:
        database = Database(url)
        study = new_study(database)
        key = start(database, study)
        ended = rows(url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                          " AND datname = current_database()")  # fmt: skip
        assert ended == [(True,)]
        assert database.finish_trial(key, Outcome({"rps": 4.0}), 4.0).value == 4.0
        database.close()


def test_trials_of_one_study_are_numbered_and_read_apart_from_anothers(url):
    database = Database(url)
    one, two = new_study(database), new_study(database)
    for study, rps in ((one, 1.0), (two, 2.0), (one, 3.0), (two, 4.0)):
        database.finish_trial(start(database, study), Outcome({"rps": rps}), rps)
    left = start(database, two)
    assert [(t.number, t.value) for t in database.trials(one)] == [(1, 1.0), (2, 3.0)]
    assert [(t.number, t.value) for t in database.trials(two)] == [(1, 2.0), (2, 4.0)]
    assert database.interrupt_running(one) == 0
    assert database.finish_trial(left, Outcome({"rps": 5.0}), 5.0).value == 5.0
    assert [record.id for record in database.studies()] == [one.id, two.id]
    assert database.studies()[0] == one == database.study(one.id)


def test_studies_share_a_database(url):
    database = Database(url)
    one, two = new_study(database), new_study(database)
    start(database, one)
    assert one.id != two.id and database.interrupt_running(two) == 0
    with pytest.raises(RunError, match=r"no study 99 .* there are \[1, 2\]"):
        database.study(99)
