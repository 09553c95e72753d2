"""Earlier studies that a new study's search may learn from."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL

from raytune_infer.counted import counted
from raytune_infer.priors.studied_tasks import enough, study_task
from raytune_infer.store.database import Database
from raytune_infer.store.database_url import shown_url
from raytune_infer.store.records import StudyRecord
from raytune_infer.store.run_folder import OWN_DATABASE, RunFolder, pointed_to, runs_in
from searchers.base import Task

_NAMED = 5
"""Most names in a note; the others are only counted. Our choice."""


@dataclass(frozen=True)
class Earlier:
    """The studies that a search may learn from.

    Args:
        tasks: one task per study, in the order in which the studies began.
        left_out: the studies that cannot be learned from, each with the reason.
    """

    tasks: tuple[Task, ...]
    left_out: tuple[str, ...]

    def notes(self) -> Iterator[str]:
        """Yield notes for the user on what is learned from and what is left out; none if there are no studies."""
        if self.tasks:
            trials: Counter[str] = Counter()
            for task in self.tasks:
                trials[task.group] += len(task.observed)
            services = [f"{name} ({counted(count, 'trial')})" for name, count in trials.most_common()]
            yield (
                f"learning from {_studies(len(self.tasks))} of {counted(len(services), 'service')}: "
                f"{_listed(services, ', ')}"
            )
        if self.left_out:
            yield f"not learning from {_studies(len(self.left_out))}: {_listed(self.left_out, '; ')}"


def earlier_studies(run: RunFolder, study: StudyRecord, *, emulated: bool) -> Earlier:
    """Read the trials finished before a study began, in the folders beside its run's and in the database it was given.

    Of a folder only its own database is read; nothing is written anywhere.

    Later trials are left out, so a resumed study still learns from the same trials as at its start, and never from
    itself. A study on emulated devices learns only from emulated trials, one on real devices only from real ones.

    Args:
        run: the study's run.
        study: the study.
        emulated: whether the study's devices are emulated.
    """
    found: list[tuple[dt.datetime, Task]] = []
    left_out: list[str] = []
    for url, place in _places(run, left_out).items():
        with _told(place.name, left_out), closing(Database(url, read_only=True)) as database:
            for other in database.studies():
                if (place.numbers and other.id not in place.numbers) or other.created_at >= study.created_at:
                    continue
                with _told(f"{other.name} in {place.name}", left_out):
                    trials = database.trials(other, before=study.created_at)
                    trials = tuple(t for t in trials if t.emulated == emulated)
                    if enough(trials):
                        found.append((other.created_at, study_task(other, trials)))
    found.sort(key=lambda pair: pair[0])
    return Earlier(tuple(task for _, task in found), tuple(left_out))


@dataclass(frozen=True)
class _Place:
    """A database: its name for messages, and the numbers of the studies to read from it; empty for all."""

    name: str
    numbers: frozenset[int] = frozenset()


def _places(run: RunFolder, left_out: list[str]) -> dict[URL, _Place]:
    """Return URL → what to read there, each database once; folders that cannot be read are added to `left_out`."""
    places = {} if run.database_url is None else {run.url: _Place("the database")}
    own = run.path.resolve()
    for path in runs_in(own.parent):
        if path == own:
            continue
        with _told(path.name, left_out):
            other = pointed_to(path)
            if other.database_url is not None:  # whoever wrote that folder does not say what we open
                if (named := shown_url(other.database_url)) != shown_url(run.database_url):
                    left_out.append(f"{path.name} (its database {named!r} is not the --db here)")
                continue
            _refuse_missing(path / OWN_DATABASE)
            places.setdefault(other.url, _Place(path.name, frozenset({other.study_id})))
    return places


def _refuse_missing(file: Path) -> None:
    """Raise FileNotFoundError if a SQLite file is missing, which opening it would create."""
    if not file.is_file():
        raise FileNotFoundError(f"it has no {file.name}")


@contextmanager
def _told(what: str, left_out: list[str]) -> Iterator[None]:
    """Add any error inside the context to `left_out`, so that a broken old study does not end a new one."""
    try:
        yield
    except Exception as error:
        left_out.append(f"{what} ({next(iter(str(error).splitlines()), repr(error))})")


def _studies(count: int) -> str:
    return counted(count, "earlier study", "earlier studies")


def _listed(names: list[str] | tuple[str, ...], separator: str) -> str:
    rest = [f"{len(names) - _NAMED} more"] if len(names) > _NAMED else []
    return separator.join([*names[:_NAMED], *rest])
