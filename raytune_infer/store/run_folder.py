"""A run's folder: where its database is, and the files that it leaves for people."""

from __future__ import annotations

import datetime as dt
import fcntl
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import URL

from raytune_infer.errors import RunError
from raytune_infer.store.database import Database, url_of, url_of_file
from raytune_infer.store.records import StudyRecord, TrialRecord

if TYPE_CHECKING:
    from raytune_infer.spec.service_spec import ServiceSpec

_POINTER = "run.json"


@dataclass(frozen=True)
class RunFolder:
    """A folder that belongs to one study.

    Args:
        path: the folder.
        database_url: where the study's history is; None for a SQLite file in the folder.
        study_id: its number there.
        learns: its search learns from the studies that were there before it.
        prior: the label of the prior that it was given, of which a copy is in the folder; None for what ships.
    """

    path: Path
    database_url: str | None
    study_id: int
    learns: bool = True
    prior: str | None = None

    @property
    def url(self) -> URL:
        """Of the database of histories; RunError if what was given is none."""
        return url_of_file(self.path / OWN_DATABASE) if self.database_url is None else url_of(self.database_url)

    def database(self) -> Database:
        """The database of histories; RunError if it cannot be used."""
        return Database(self.url)

    def save(self) -> None:
        """Write the pointer to the study; from then on the folder can be opened."""
        pointer = {"database": self.database_url, "study": self.study_id, "learns": self.learns, "prior": self.prior}
        (self.path / _POINTER).write_text(json.dumps(pointer, indent=2) + "\n", encoding="utf-8")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other driver out; the kernel lets go when this one ends, however it ends.

        Raises:
            RunError: another driver is at work on the run.
        """
        with open(self.path / ".lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunError(f"another process is at work on {self.path}; wait for it, or end it") from None
            yield

    def load(self) -> tuple[Database, StudyRecord]:
        """The database and the study in it."""
        database = self.database()
        return database, database.study(self.study_id)

    def read(self) -> tuple[StudyRecord, tuple[TrialRecord, ...]]:
        """The study and its trials so far; the database is closed again."""
        database, study = self.load()
        try:
            return study, database.trials(study)
        finally:
            database.close()

    def spec_of(self, study: StudyRecord) -> ServiceSpec:
        """The service that a study of this run is about; SpecError where its record is none."""
        # Only now, so that what has no run is refused without waiting for it.
        from raytune_infer.spec.document import Document
        from raytune_infer.spec.service_spec import parse_spec

        return parse_spec(Document(study.spec, f"service.yaml of {self.path}"), folder=Path(study.folder))


def default_folder(name: str, now: dt.datetime) -> Path:
    """Where a run goes that was not told: `runs/NAME-DATE-TIME`."""
    return Path("runs") / f"{name}-{now:%Y%m%d-%H%M%S}"


def refuse_taken(path: Path) -> None:
    """RunError where no new run can go: there is one, or no folder can be made."""
    if (path / _POINTER).exists():
        raise RunError(f"{path} has a run already; go on with it by --resume, or choose another --out")
    there = next(folder for folder in (path, *path.parents) if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise RunError(
            f"no run can be kept in {path}: {there} is no folder that can be written to; choose another --out"
        )


OWN_DATABASE = "history.db"
"""The SQLite file of a run that was not told another database; found beside the pointer wherever that moves."""


def open_run(path: str | Path) -> RunFolder:
    """The run in a folder; RunError if there is none."""
    path = Path(path)
    try:
        pointer = json.loads((path / _POINTER).read_text(encoding="utf-8"))
        database, study = pointer["database"], int(pointer["study"])
        # A run of before there was such a choice learned from nothing, and goes on so.
        return RunFolder(path, database, study, bool(pointer.get("learns", False)), pointer.get("prior"))
    except FileNotFoundError:
        hint = f"; runs here: {found}" if (found := _hint(path)) else ""
        raise RunError(f"no run in {path} (it has no {_POINTER}); `raytune-infer tune` makes one{hint}") from None
    except KeyError as error:
        raise RunError(f"{path / _POINTER} does not name a database and a study: {error} is missing") from None
    except (OSError, ValueError, TypeError) as error:
        raise RunError(f"{path / _POINTER} does not name a database and a study: {error}") from None


def latest_run(name: str) -> Path:
    """The newest run of a service under `runs/`; RunError if there is none."""
    dated = re.compile(re.escape(name) + r"-\d{8}-\d{6}")
    runs = [path for path in runs_in(Path("runs")) if dated.fullmatch(path.name)]
    if not runs:
        raise RunError(f"no run of {name!r} under runs/ to resume; leave --resume out, or name it with --out")
    return runs[-1]


def runs_in(folder: Path) -> list[Path]:
    """The folders in it that hold a run, by name."""
    return sorted(p.parent for p in folder.glob(f"*/{_POINTER}"))


def _hint(folder: Path) -> str:
    return ", ".join(map(str, runs_in(folder)[:5]))
