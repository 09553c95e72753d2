"""Finished studies as tasks that searchers can learn from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import yaml

from raytune_infer.errors import RunError
from raytune_infer.spec.service_spec import fact
from raytune_infer.spec.standard_knobs import encode
from raytune_infer.store.database import Database
from raytune_infer.store.database_url import url_of_file
from raytune_infer.store.records import StudyRecord, TrialRecord
from raytune_infer.store.run_folder import open_run
from raytune_infer.suites.suite_file import SUITE_FILE
from searchers.base import Observation, Task
from searchers.quantities import PRICE
from searchers.space import Space

LEAST_TRIALS = 3
"""Fewest successful trials of a study to learn from; fewer say too little about how metrics vary over the space."""


def measured_tasks(places: Sequence[str]) -> tuple[Task, ...]:
    """Read tasks from run folders, databases (a SQLite file or a URL) and suites of tables.

    Raises:
        RunError: a place is none of these, a study cannot be learned from, or no study has enough trials.
    """
    tasks = tuple(task for place in places for task in _tasks_at(place))
    if not tasks:
        raise RunError(
            f"no study with {LEAST_TRIALS} trials that ran in {', '.join(places)}; tune a service there first"
        )
    return tasks


def _tasks_at(place: str) -> tuple[Task, ...]:
    if "://" in place:
        return _all_studies(Database(place, read_only=True))
    path = Path(place)
    if (path / SUITE_FILE).is_file():
        from raytune_infer.suites.suites import load_suite  # brings pandas

        return tuple(task.as_source for task in load_suite(path).tasks.values())
    if path.is_file():
        return _all_studies(Database(url_of_file(path), read_only=True))
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
    """Whether enough trials ran to learn from them; failures alone may be the model's own fault."""
    return sum(t.outcome.metrics is not None for t in trials) >= LEAST_TRIALS


def study_task(study: StudyRecord, trials: Sequence[TrialRecord]) -> Task:
    """Convert a study to a task whose space has the configurations that were tried, the final comparison included.

    Its metrics include `usd_per_hour`, the price at the time. The group is the service's name: earlier studies of a
    service are taken to be about the same model.

    Raises:
        ValueError: this version does not know a knob or a value, such as a GPU that left the catalogue, or a price.
    """
    if any(t.priced == "unknown" for t in trials):
        raise ValueError(
            "it charged a part of a GPU's memory alone as a part of the GPU, by prices that are not known now"
        )
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
    price = {} if math.isnan(trial.usd_per_hour) else {PRICE: trial.usd_per_hour}
    return {**trial.outcome.metrics, **price}


def _facts(spec: str) -> dict[str, float]:
    """Return the valid facts in the study's service.yaml; empty if it has none."""
    document = yaml.safe_load(spec)
    facts = document.get("facts") if isinstance(document, dict) else None
    if not isinstance(facts, dict):
        return {}
    found = {}
    for name, value in facts.items():
        with suppress(ValueError):  # an older version accepted invalid facts
            found[str(name)] = fact(value)
    return found
