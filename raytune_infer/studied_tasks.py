"""Finished studies as tasks: what one's own services have taught."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from raytune_infer.encoding import encode
from raytune_infer.errors import RunError
from raytune_infer.history import Database, StudyRecord, TrialRecord
from raytune_infer.run_folder import open_run
from raytune_infer.suites import load_suite
from searchers.base import Observation, Task
from searchers.space import Space

SUITE = "suite.json"
LEAST_TRIALS = 3
"""A study with fewer finished trials says too little of a shape."""


def measured_tasks(places: Sequence[str]) -> tuple[Task, ...]:
    """Tasks from run folders, history databases (a SQLite file or a URL) and suites of tables.

    Raises:
        RunError: a place that is none of these, or no study with enough trials anywhere.
    """
    tasks = tuple(task for place in places for task in _tasks_at(place))
    if not tasks:
        raise RunError(
            f"no study with {LEAST_TRIALS} finished trials in {', '.join(places)}; tune a service there first"
        )
    return tasks


def _tasks_at(place: str) -> tuple[Task, ...]:
    if "://" in place:
        return _all_studies(Database(place))
    path = Path(place)
    if (path / SUITE).is_file():
        return tuple(task.as_source for task in load_suite(path).tasks.values())
    if path.is_file():
        return _all_studies(Database(f"sqlite:///{path.resolve()}"))
    database, study = open_run(path).load()
    trials = database.trials(study)
    database.close()
    return () if len(trials) < LEAST_TRIALS else (study_task(study, trials),)


def _all_studies(database: Database) -> tuple[Task, ...]:
    found = [(study, database.trials(study)) for study in database.studies()]
    database.close()
    return tuple(study_task(study, trials) for study, trials in found if len(trials) >= LEAST_TRIALS)


def study_task(study: StudyRecord, trials: Sequence[TrialRecord]) -> Task:
    """A study as a task whose space is what was tried, the final comparison included.

    Raises:
        RunError: a knob with values that this version does not know, such as a GPU that left the catalogue.
    """
    values = study.fingerprint["knobs"]
    try:
        knobs = [encode(name, values[name]) for name in values]
        space = Space(knobs, [trial.config for trial in trials])
    except (ValueError, KeyError) as error:
        raise RunError(f"study {study.id}, {study.name!r}, cannot be learned from: {error}; leave it out") from None
    observed = tuple(Observation(space.position(t.config), t.outcome.metrics) for t in trials)
    return Task(study.name, space, observed, _facts(study.spec))


def _facts(spec: str) -> dict[str, float]:
    """What the service.yaml of the study tells under `facts`, if it has such a key."""
    document = yaml.safe_load(spec)
    facts = document.get("facts") if isinstance(document, dict) else None
    if not isinstance(facts, dict):
        return {}
    numbers = {str(k): v for k, v in facts.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    return {name: float(value) for name, value in numbers.items()}
