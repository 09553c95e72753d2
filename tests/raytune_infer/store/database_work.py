"""What processes of a test do with a database: a module of its own, so that they import little."""

import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from raytune_infer.errors import RunError
from raytune_infer.store.database import Database
from raytune_infer.store.records import Outcome, StudyRecord
from raytune_infer.store.run_folder import RunFolder, open_run


def begun(database: Database, name: str = "s") -> StudyRecord:
    return database.create_study(
        name=name, spec=f"name: {name}", folder="/", searcher="random", seed=1, trials=3, fingerprint={"knobs": {}},
        emulated=None,
    )  # fmt: skip


def tried(database: Database, study: StudyRecord, rps: float) -> tuple[int, float | None]:
    """A trial, begun and ended; its number and value as they were written down."""
    key, number = database.start_trial(
        study, purpose="search", position=number_of(rps), config={"batch": 1}, usd_per_hour=1.0, emulated=False
    )
    trial = database.finish_trial(key, Outcome({"rps": rps}), rps)
    assert trial.number == number
    return number, trial.value


def number_of(rps: float) -> int:
    return int(rps) % 1000


def opens(pipe: Connection, urls: list[str]) -> None:
    """Opens each database at the moment it is told to, and says what became of it."""
    for url in urls:
        pipe.send("ready")
        pipe.recv()
        try:
            database = Database(url)
            pipe.send(begun(database).id)
            database.close()
        except RunError as error:
            pipe.send(str(error))


def writes(pipe: Connection, url: str, study_id: int | None, trials: int, first_rps: float) -> None:
    """Trials of a study of its own, or of one that is there, one after another."""
    database = Database(url)
    study = begun(database, f"by {first_rps:g}") if study_id is None else database.study(study_id)
    pipe.send("ready")
    pipe.recv()
    pipe.send((study.id, [tried(database, study, first_rps + k) for k in range(trials)]))
    database.close()


def holds(pipe: Connection, folder: str) -> None:
    """Works on a run, has begun a trial of it, and is then killed."""
    run = open_run(folder)
    with run.locked():
        database, study = run.load()
        database.start_trial(
            study, purpose="search", position=0, config={"batch": 1}, usd_per_hour=1.0, emulated=False
        )  # fmt: skip
        pipe.send("ready")
        pipe.recv()
        os.kill(os.getpid(), signal.SIGKILL)


WORK: dict[str, Callable[..., None]] = {"opens": opens, "writes": writes, "holds": holds}


def obeys(pipe: Connection) -> None:
    """A process's whole life: one piece of work after another, until there is no more."""
    while (task := pipe.recv()) is not None:
        name, *given = task
        WORK[name](pipe, *given)


def run_in(path: Path, **options: Any) -> RunFolder:
    """A folder with a study that has one trial."""
    path.mkdir()
    database = RunFolder(path, None, 0).database()
    study = begun(database)
    tried(database, study, 5.0)
    database.close()
    run = RunFolder(path, None, study.id, **options)
    run.save()
    return run
