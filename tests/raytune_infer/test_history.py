"""The history: what was written is there after a crash, and nothing is counted twice."""

import math
import sqlite3
from contextlib import closing

import pytest

from raytune_infer.errors import RunError
from raytune_infer.history import Database
from raytune_infer.records import Outcome, observations

CONFIG = {"max_batch_size": 4, "precision": "float32"}
LOAD = {"started_at": 10.0, "ended_at": 12.5, "mode": "open", "requested_rps": 5.0}


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'history.db'}"


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
    outcome = Outcome({"rps": 4.0}, loads=(LOAD,), client_limited=True, enforcements=({"limit": "cpu_cores"},),
                      hostname="h", settings={"cpu_cores": 1})  # fmt: skip
    database.finish_trial(start(database, study), outcome, 8.0)
    database.close()
    [trial] = Database(url).trials(study)
    assert trial.outcome == outcome
    assert (trial.number, trial.position, trial.config, trial.value) == (1, 7, CONFIG, 8.0)


def test_what_an_earlier_version_wrote_is_read(url):
    database = Database(url)
    study = new_study(database)
    database.finish_trial(start(database, study), Outcome({"rps": 4.0}, in_place=True, overhead={"change": 0.5}), 8.0)
    database.close()
    with sqlite3.connect(url.removeprefix("sqlite:///")) as file:
        for column in ("in_place", "overhead", "ended_early"):
            file.execute(f"ALTER TABLE trials DROP COLUMN {column}")
    file.close()
    again = Database(url)
    [trial] = again.trials(study)
    assert (trial.value, trial.outcome.in_place, trial.outcome.overhead_s) == (8.0, None, 0.0)
    more = {"ended_early": True, "overhead": {"deploy": 2.0, "leave": 1.0}, "interval_rps": (3.5, 4.5)}
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


def test_studies_share_a_database(url):
    database = Database(url)
    one, two = new_study(database), new_study(database)
    start(database, one)
    assert one.id != two.id and database.interrupt_running(two) == 0
    with pytest.raises(RunError, match=r"no study 99 .* there are \[1, 2\]"):
        database.study(99)


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
    assert start(database, new_study(database)) == 1
    database.close()
    assert "CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL)" in tables(url)


def test_what_is_no_database_is_refused(tmp_path):
    (tmp_path / "history.db").write_bytes(b"no database" * 100)
    with pytest.raises(RunError, match="cannot use the database 'sqlite:///.*history.db': .*not a database"):
        Database(f"sqlite:///{tmp_path / 'history.db'}")
