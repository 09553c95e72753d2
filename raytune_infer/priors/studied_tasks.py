"""Finished studies as tasks: what one's own services have taught."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import yaml

from raytune_infer.errors import RunError
from raytune_infer.spec.service_spec import PRICED, fact
from raytune_infer.spec.standard_knobs import encode
from raytune_infer.store.database import Database, url_of_file
from raytune_infer.store.records import StudyRecord, TrialRecord
from raytune_infer.store.run_folder import open_run
from raytune_infer.suites.suite_file import SUITE_FILE
from searchers.base import Observation, Task
from searchers.space import Space

LEAST_TRIALS = 3
"""A study in which fewer trials ran says too little of a shape."""


def measured_tasks(places: Sequence[str]) -> tuple[Task, ...]:
    """Tasks from run folders, history databases (a SQLite file or a URL) and suites of tables.

    Raises:
        RunError: a place that is none of these, a study that cannot be learned from, or none with enough trials.
    """
    tasks = tuple(task for place in places for task in _tasks_at(place))
    if not tasks:
        raise RunError(
            f"no study with {LEAST_TRIALS} trials that ran in {', '.join(places)}; tune a service there first"
        )
    return tasks


def _tasks_at(place: str) -> tuple[Task, ...]:
    if "://" in place:
        return _all_studies(Database(place))
    path = Path(place)
    if (path / SUITE_FILE).is_file():
        from raytune_infer.suites.suites import load_suite  # brings pandas

        return tuple(task.as_source for task in load_suite(path).tasks.values())
    if path.is_file():
        return _all_studies(Database(url_of_file(path)))
    return _tasks([open_run(path).read()])


def _all_studies(database: Database) -> tuple[Task, ...]:
    found = [(study, database.trials(study)) for study in database.studies()]
    database.close()
    return _tasks(found)


def _tasks(found: Iterable[tuple[StudyRecord, Sequence[TrialRecord]]]) -> tuple[Task, ...]:
    tasks = []
    for study, trials in found:
        if enough(trials):
            try:
                tasks.append(study_task(study, trials))
            except ValueError as error:
                raise RunError(f"cannot learn from study {study.id}, {study.name!r}: {error}; leave it out") from None
    return tuple(tasks)


def enough(trials: Sequence[TrialRecord]) -> bool:
    """Whether there is something to learn from: failures alone may have been the model's own."""
    return sum(t.outcome.metrics is not None for t in trials) >= LEAST_TRIALS


def study_task(study: StudyRecord, trials: Sequence[TrialRecord]) -> Task:
    """A study as a task whose space is what was tried, the final comparison included.

    Beside what was measured, `usd_per_hour` is the price of then. The group is the service's name: its earlier
    studies were about the same model.

    Raises:
        ValueError: knobs or values that this version does not know, such as a GPU that left the catalogue.
    """
    values = study.fingerprint.get("knobs", {})
    try:
        space = Space([encode(name, values[name]) for name in values], [trial.config for trial in trials])
    except KeyError as error:
        raise ValueError(error.args[0]) from None
    observed = tuple(Observation(space.position(t.config), _priced(t)) for t in trials)
    return Task(study.name, space, observed, _facts(study.spec), group=study.name)


def _priced(trial: TrialRecord) -> dict[str, float] | None:
    if trial.outcome.metrics is None:
        return None
    price = {} if math.isnan(trial.usd_per_hour) else {PRICED: trial.usd_per_hour}
    return {**trial.outcome.metrics, **price}


def _facts(spec: str) -> dict[str, float]:
    """What the service.yaml of the study tells under `facts`, if it has such a key."""
    document = yaml.safe_load(spec)
    facts = document.get("facts") if isinstance(document, dict) else None
    if not isinstance(facts, dict):
        return {}
    found = {}
    for name, value in facts.items():
        with suppress(ValueError):  # what an older version let pass
            found[str(name)] = fact(value)
    return found
