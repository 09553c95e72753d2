"""What was studied before a study began: what its search may learn from."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL

from raytune_infer.priors.studied_tasks import enough, study_task
from raytune_infer.store.database import Database
from raytune_infer.store.records import StudyRecord
from raytune_infer.store.run_folder import OWN_DATABASE, RunFolder, open_run, runs_in
from searchers.base import Task

_NAMED = 5
"""So many are named in a line; of the rest, how many there are. Our choice."""


@dataclass(frozen=True)
class Earlier:
    """The studies that a search may learn from.

    Args:
        tasks: one for each study, in the order in which they began.
        left_out: which others there are that cannot be learned from, and why.
    """

    tasks: tuple[Task, ...]
    left_out: tuple[str, ...]

    def notes(self) -> Iterator[str]:
        """What the user should know of it; nothing where there is nothing."""
        if self.tasks:
            trials: Counter[str] = Counter()
            for task in self.tasks:
                trials[task.group] += len(task.observed)
            services = [f"{name} ({count} trials)" for name, count in trials.most_common()]
            yield (
                f"learning from {_studies(len(self.tasks))} of {len(services)} service{'s' * (len(services) > 1)}: "
                f"{_listed(services, ', ')}"
            )
        if self.left_out:
            yield f"not learning from {_studies(len(self.left_out))}: {_listed(self.left_out, '; ')}"


def earlier_studies(run: RunFolder, study: StudyRecord, *, emulated: bool) -> Earlier:
    """What had been finished when the study began, in the folders beside its run's and in the database it was given.

    What ended later is left out, so a study that is resumed goes on with what it began with, and never learns from
    itself. Emulated devices teach nothing of real ones, nor real ones of these.

    Args:
        run: the study's own.
        study: it.
        emulated: whether its devices are.
    """
    found: list[tuple[dt.datetime, Task]] = []
    left_out: list[str] = []
    for url, place in _places(run, left_out).items():
        with _told(place.name, left_out), closing(Database(url)) as database:
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
    """A database: its name for messages, and the studies of it that are meant; none for all."""

    name: str
    numbers: frozenset[int] = frozenset()


def _places(run: RunFolder, left_out: list[str]) -> dict[URL, _Place]:
    """URL → what to read there, each database once; folders that cannot be read are added to `left_out`."""
    places = {} if run.database_url is None else {run.url: _Place("the database")}
    own = run.path.resolve()
    for path in runs_in(own.parent):
        if path == own:
            continue
        with _told(path.name, left_out):
            other = open_run(path)
            if other.database_url is None:
                _refuse_missing(path / OWN_DATABASE)
            known = places.get(other.url, _Place(path.name, frozenset({other.study_id})))
            if known.numbers:
                known = _Place(known.name, known.numbers | {other.study_id})
            places[other.url] = known
    return places


def _refuse_missing(file: Path) -> None:
    """SQLite would make the file."""
    if not file.is_file():
        raise FileNotFoundError(f"it has no {file.name}")


@contextmanager
def _told(what: str, left_out: list[str]) -> Iterator[None]:
    """Whatever is wrong with an old study, a new one does not end by it: it is told instead."""
    try:
        yield
    except Exception as error:
        left_out.append(f"{what} ({next(iter(str(error).splitlines()), repr(error))})")


def _studies(count: int) -> str:
    return f"{count} earlier {'study' if count == 1 else 'studies'}"


def _listed(names: list[str] | tuple[str, ...], separator: str) -> str:
    rest = [f"{len(names) - _NAMED} more"] if len(names) > _NAMED else []
    return separator.join([*names[:_NAMED], *rest])
