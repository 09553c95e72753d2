"""A run's folder, which points to the run's database and holds its files for people."""

from __future__ import annotations

import datetime as dt
import fcntl
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from sqlalchemy import URL

from raytune_infer.errors import RunError
from raytune_infer.store.database import Database
from raytune_infer.store.database_url import absolute, file_of, shown_url, url_of, url_of_file
from raytune_infer.store.made_on import MadeOn
from raytune_infer.store.records import StudyRecord, TrialRecord

if TYPE_CHECKING:
    from raytune_infer.spec.service_spec import ServiceSpec

_POINTER = "run.json"


@dataclass(frozen=True)
class RunFolder:
    """A folder that belongs to one study.

    Args:
        path: the folder.
        database_url: URL of the database with the study; None for a SQLite file in the folder. The folder keeps it
            without its password.
        study_id: the study's number in the database.
        learns: whether the search learns from earlier studies.
        prior: label of its custom prior, of which the folder has a copy; None for the shipped prior.
        payload_type: the fields of the type of its samples, for the export; None in runs that did not keep it.
        concluded: whether the study has come to its end; None in runs that did not keep it.
        made_on: what it ran on and with, each time that this was another; empty in runs that did not keep it.
    """

    path: Path
    database_url: str | None
    study_id: int
    learns: bool = True
    prior: str | None = None
    payload_type: Mapping[str, Any] | None = None
    concluded: bool | None = None
    made_on: tuple[MadeOn, ...] = ()

    @property
    def url(self) -> URL:
        """URL of the run's database; raises RunError if the given one is invalid."""
        return url_of_file(self.path / OWN_DATABASE) if self.database_url is None else url_of(self.database_url)

    def database(self, *, read_only: bool = False) -> Database:
        """Open the run's database; raises RunError if it cannot be used, or would be written to through a link."""
        own = self.path / OWN_DATABASE
        if not read_only and self.database_url is None and own.is_symlink():
            # The folder may come from somebody else, and what it names elsewhere is not written to unasked.
            raise RunError(f"{own} is a link to {own.resolve()}; a run writes to a file of its own there only")
        return Database(self.url, read_only=read_only)

    def save(self) -> None:
        """Write the pointer to the study; only then can the folder be opened as a run.

        It is there whole or not at all, and for its owner alone.
        """
        pointer = {
            "database": shown_url(self.database_url), "study": self.study_id, "learns": self.learns,
            "prior": self.prior, "payload": self.payload_type, "concluded": self.concluded,
            "made_on": self.made_on,
        }  # fmt: skip
        unfinished = self.path / f"{_POINTER}.new"
        with suppress(FileNotFoundError):  # one that was left behind would keep its mode
            unfinished.unlink()
        with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(json.dumps(pointer, indent=2) + "\n")
        unfinished.replace(self.path / _POINTER)

    def mark(self, *, concluded: bool, made_on: MadeOn | None = None) -> RunFolder:
        """Return the run with the mark that its study has come to its end, or has not; it is kept in the folder.

        Args:
            concluded: whether it has come to its end.
            made_on: what it goes on with on; None for what it has.
        """
        on = self.made_on if made_on is None or made_on in self.made_on else (*self.made_on, made_on)
        run = replace(self, concluded=concluded, made_on=on)
        if run != self:
            run.save()
        return run

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the run against other drivers; the kernel releases the lock when this process ends, however it ends.

        Raises:
            RunError: another driver is working on the run, or its lock is a link.
        """
        with _lock_file(self.path / ".lock") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunError(f"another process is at work on {self.path}; wait for it, or end it") from None
            yield

    def load(self, *, read_only: bool = False) -> tuple[Database, StudyRecord]:
        """Open the run's database and return it with the study.

        Args:
            read_only: whether the database is left as it is.

        Raises:
            RunError: the database is not there, which opening it would make anew, or cannot be used.
        """
        file = file_of(self.url)
        if file is not None and not file.exists():
            raise RunError(f"the database of {self.path} is gone: there is no {file}; copy it back, or start a new run")
        database = self.database(read_only=read_only)
        return database, database.study(self.study_id)

    def read(self) -> tuple[StudyRecord, tuple[TrialRecord, ...]]:
        """Return the study and its trials so far; the database is left as it is."""
        database, study = self.load(read_only=True)
        try:
            return study, database.trials(study)
        finally:
            database.close()

    def unfinished(self) -> bool:
        """Whether a trial of the study is under way, or was when its driver ended: the study is not over."""
        database, study = self.load(read_only=True)
        try:
            return database.unfinished(study)
        finally:
            database.close()

    def set_aside(self) -> Mapping[str, tuple[int, ...]]:
        """Return why trials of the study do not count (`Database.set_aside`) → their numbers."""
        database, study = self.load(read_only=True)
        try:
            return database.set_aside(study)
        finally:
            database.close()

    def spec_of(self, study: StudyRecord) -> ServiceSpec:
        """Return the specification that is recorded in a study of this run; raises SpecError if it is invalid."""
        # Imported here because it is slow, and a folder without a run is refused without it.
        from raytune_infer.spec.document import RecordedDocument
        from raytune_infer.spec.service_spec import parse_spec

        return parse_spec(RecordedDocument(study.spec, f"service.yaml of {self.path}"), folder=Path(study.folder))


def _lock_file(path: Path) -> IO[bytes]:
    """Open a run's lock, which is made if need be and never changed; raises RunError if it is a link or no file."""
    try:
        return open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600), "rb")
    except OSError as error:
        raise RunError(f"cannot lock the run: {path} is no file of its own ({error.strerror}); remove it") from None


def default_folder(name: str, now: dt.datetime) -> Path:
    """Return the folder of a run for which none was given: `runs/NAME-DATE-TIME`."""
    return Path("runs") / f"{name}-{now:%Y%m%d-%H%M%S}"


def make_folder(path: Path) -> None:
    """Make the folder of a run for its owner alone; one that is there with other files in it keeps its mode."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not any(path.iterdir()):
        path.chmod(0o700)


def refuse_taken(path: Path) -> None:
    """Raise RunError if no new run can be created in this folder: it has one, or cannot be made or written to."""
    if os.path.exists(path / _POINTER):
        raise RunError(f"{path} already has a run; continue it with --resume, or choose another --out")
    there = next((folder for folder in (path, *path.parents) if os.path.exists(folder)), path)
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise RunError(f"cannot create a run in {path}: {there} is not a writable folder; choose another --out")
    try:
        _try_to_write(path)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise RunError(f"cannot create a run in {path}: {why}; choose another --out") from None


def _try_to_write(folder: Path) -> None:
    """Make a folder with a file in it, and remove what was made; raises OSError if that is not possible.

    Permissions do not tell: who may do everything may still not write to /proc or to a file system that is read-only.
    """
    missing = [path for path in (folder, *folder.parents) if not os.path.exists(path)]
    made: list[Path] = []
    try:
        for path in reversed(missing):
            path.mkdir()
            made.append(path)
        with tempfile.TemporaryFile(dir=folder):
            pass
    finally:
        for path in reversed(made):
            with suppress(OSError):  # another run has been made in it meanwhile
                path.rmdir()


OWN_DATABASE = "history.db"
"""SQLite file of a run without another database; it is beside the pointer, so the folder can be moved."""


def open_run(path: str | Path, db: str | None = None) -> RunFolder:
    """Open the run in a folder.

    The folder may come from somebody else: a database elsewhere that it names is opened only if the user names it too.

    Args:
        path: the folder.
        db: URL of the database that the run was started with; None for the SQLite file in the folder.

    Raises:
        RunError: there is no run, or its study is in another database than `db` says.
    """
    run = pointed_to(path)
    now, before = shown_url(db), shown_url(run.database_url)
    if now is None and before is not None:
        raise RunError(f"{path} keeps its study in the database {before!r}, which is opened only where you name it: "
                       "add --db and its URL")  # fmt: skip
    if now != before:
        kept = f"in the database {before!r}; name that one" if before else "in its own folder; leave --db out"
        raise RunError(f"{path} keeps its study not in {now!r}, but {kept}")
    return replace(run, database_url=None if db is None else absolute(db))


def pointed_to(path: str | Path) -> RunFolder:
    """Read what a run's folder says, and open nothing; raises RunError if there is no run."""
    path = Path(path)
    try:
        pointer = json.loads((path / _POINTER).read_text(encoding="utf-8"))
        database, study = pointer["database"], int(pointer["study"])
        # Runs from before this choice existed did not learn from others, and resume in the same way.
        learns, prior = bool(pointer.get("learns", False)), pointer.get("prior")
        return RunFolder(path, database, study, learns, prior, pointer.get("payload"), pointer.get("concluded"),
                         tuple(dict(each) for each in pointer.get("made_on", ())))  # fmt: skip
    except FileNotFoundError:
        hint = f"; runs here: {found}" if (found := _hint(path)) else ""
        raise RunError(f"no run in {path} (it has no {_POINTER}); `raytune-infer tune` makes one{hint}") from None
    except KeyError as error:
        raise RunError(f"{path / _POINTER} does not name a database and a study: {error} is missing") from None
    except (OSError, ValueError, TypeError) as error:
        raise RunError(f"{path / _POINTER} does not name a database and a study: {error}") from None


def latest_run(name: str) -> Path:
    """Return the newest run of a service under `runs/`; raises RunError if there is none."""
    dated = re.compile(re.escape(name) + r"-\d{8}-\d{6}")
    runs = [path for path in runs_in(Path("runs")) if dated.fullmatch(path.name)]
    if not runs:
        raise RunError(f"no run of {name!r} under runs/ to resume; leave --resume out, or name it with --out")
    return runs[-1]


def runs_in(folder: Path) -> list[Path]:
    """Return the subfolders that hold a run, sorted by name."""
    return sorted(p.parent for p in folder.glob(f"*/{_POINTER}"))


def _hint(folder: Path) -> str:
    return ", ".join(map(str, runs_in(folder)[:5]))
