"""A run's folder: where its database is, and the files that it leaves for people."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from pathlib import Path

from raytune_infer.errors import RunError
from raytune_infer.history import Database, StudyRecord

_POINTER = "run.json"


@dataclass(frozen=True)
class RunFolder:
    """A folder that belongs to one study.

    Args:
        path: the folder.
        database_url: where the study's history is.
        study_id: its number there.
    """

    path: Path
    database_url: str
    study_id: int

    def save(self) -> None:
        """Write the pointer to the study; from then on the folder can be opened."""
        pointer = {"database": self.database_url, "study": self.study_id}
        (self.path / _POINTER).write_text(json.dumps(pointer, indent=2) + "\n", encoding="utf-8")

    def load(self) -> tuple[Database, StudyRecord]:
        """The database and the study in it."""
        database = Database(self.database_url)
        return database, database.study(self.study_id)


def default_folder(name: str, now: dt.datetime) -> Path:
    """Where a run goes that was not told: `runs/NAME-DATE-TIME`."""
    return Path("runs") / f"{name}-{now:%Y%m%d-%H%M%S}"


def sqlite_url(folder: Path) -> str:
    """The database of a run that was not told another one."""
    return f"sqlite:///{folder.resolve() / 'history.db'}"


def open_run(path: str | Path) -> RunFolder:
    """The run in a folder; RunError if there is none."""
    path = Path(path)
    try:
        pointer = json.loads((path / _POINTER).read_text(encoding="utf-8"))
        return RunFolder(path, str(pointer["database"]), int(pointer["study"]))
    except FileNotFoundError:
        hint = f"; runs here: {found}" if (found := _runs_beside(path)) else ""
        raise RunError(
            f"no run in {path} (it has no {_POINTER}); `raytune-infer tune` makes one{hint}"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path / _POINTER} does not name a database and a study ({error!r})") from None


def latest_run(name: str) -> Path:
    """The newest run of a service under `runs/`; RunError if there is none."""
    runs = sorted(p.parent for p in Path("runs").glob(f"{name}-*/{_POINTER}"))
    if not runs:
        raise RunError(f"no run of {name!r} under runs/ to resume; leave --resume out, or name it with --out")
    return runs[-1]


def _runs_beside(path: Path) -> str:
    return ", ".join(str(p.parent) for p in sorted(path.glob(f"*/{_POINTER}"))[:5])
