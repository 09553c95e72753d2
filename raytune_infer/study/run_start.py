"""The run with which a study starts: a new one, or one that is resumed as long as it is the same study."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from raytune_infer.counted import by_number, counted
from raytune_infer.errors import RunError
from raytune_infer.spec.service import Service
from raytune_infer.store.database import Database
from raytune_infer.store.made_on import made_on
from raytune_infer.store.prior import PriorFile, kept_prior
from raytune_infer.store.records import StudyRecord
from raytune_infer.store.run_folder import RunFolder, default_folder, latest_run, make_folder, open_run, refuse_taken
from raytune_infer.study.fingerprint.fingerprint import Fingerprint, differences, files_of
from raytune_infer.study.progress import Progress
from searchers.registry import DEFAULT


@dataclass(frozen=True)
class StudyOptions:
    """What a user asks of a study; None: the default or, when resuming, the study's own choice.

    Args:
        searcher: name of the searcher.
        seed: seed of all random choices.
        emulate: nodes of a local emulated cluster.
        db: URL of the database.
        out: the run's folder.
        history: whether the search learns from other studies.
        prior: a prior in place of the shipped one.
    """

    searcher: str | None
    seed: int | None
    emulate: str | None
    db: str | None
    out: Path | None
    history: bool | None
    prior: PriorFile | None

    def new_folder(self, name: str) -> Path:
        """Return the folder for a new run of a service of this name."""
        return self.out or default_folder(name, dt.datetime.now())


@dataclass(frozen=True)
class Start:
    """What is known of a study before a cluster is joined.

    Args:
        run: the run that is resumed; None for a new one, which is made once its configurations are known.
        emulate: nodes of a local emulated cluster; None for a real one.
        prior: a prior in place of the shipped one; None for that.
        files: digests of the files that the service names or runs.
    """

    run: RunFolder | None
    emulate: str | None
    prior: PriorFile | None
    files: Fingerprint


def anew(service: Service, options: StudyOptions) -> Start:
    """Return the start of a new study; raises RunError if its folder or its database cannot be used."""
    refuse_taken(options.new_folder(service.spec.name))
    if options.db is not None:
        Database(options.db).close()
    return Start(None, options.emulate, options.prior, files_of(service))


def resumed(service: Service, options: StudyOptions, trials: int | None) -> Start:
    """Return the start of a study that is resumed; raises RunError if there is none, or it is not the same study."""
    run = open_run(options.out or latest_run(service.spec.name), options.db)
    database, study = run.load()
    database.close()
    _refuse_contradiction(run, study, options, trials)
    files = files_of(service)
    _refuse_changes(run, study, files)
    return Start(run, study.emulated, kept_prior(run), files)


def new_run(service: Service, options: StudyOptions, identity: Fingerprint, trials: int) -> RunFolder:
    """Make the folder of a new run, with the study in its database, and return it."""
    spec, path = service.spec, options.new_folder(service.spec.name)
    make_folder(path)
    run = RunFolder(path, options.db, 0, learns=options.history is not False)
    # Two runs that start at once must not both find the folder free: one's pointer would hide the other's study.
    with run.locked():
        refuse_taken(path)
        database = run.database()
        study = database.create_study(
            name=spec.name, spec=spec.text, folder=str(spec.folder.resolve()),
            searcher=options.searcher or DEFAULT, seed=options.seed or 0, trials=trials,
            fingerprint=identity, emulated=options.emulate,
        )  # fmt: skip
        database.close()
        run = replace(run, study_id=study.id, payload_type=service.payload_type.as_dict())
        if options.prior is not None:
            run = options.prior.kept(run)
        run.save()
    return run


@contextmanager
def opened(run: RunFolder, identity: Fingerprint) -> Iterator[tuple[RunFolder, Database, StudyRecord]]:
    """Open a run's study inside the context, locked and not concluded; raises RunError if it is not the same study."""
    with run.locked():
        database, study = run.load()
        try:
            _refuse_changes(run, study, identity)
            yield run.mark(concluded=False, made_on=made_on()), database, study
        finally:
            database.close()


def continued(
    database: Database, study: StudyRecord, trials: int | None, folder: Path, progress: Progress
) -> StudyRecord:
    """Return the study that goes on, with what a kill has cut off ended, and with more trials if more are asked for.

    The folder of its service.yaml may have been moved since, and what is exported names it.
    """
    if lost := database.interrupt_running(study):
        cut_off = f"{counted(lost, 'unfinished trial')} of the interrupted run"
        progress.note(f"{cut_off} {by_number(lost, 'is', 'are')} ignored")
    if (here := str(folder.resolve())) != study.folder:
        study = database.move(study, here)
    return database.extend(study, trials) if trials is not None and trials > study.trials else study


def _refuse_contradiction(run: RunFolder, study: StudyRecord, options: StudyOptions, trials: int | None) -> None:
    """Raise RunError if a user asks for something else than the study was started with."""
    fewer = trials is not None and trials < study.trials
    asked: Mapping[str, tuple[Any, Any]] = {
        "trials": (trials if fewer else None, study.trials), "searcher": (options.searcher, study.searcher),
        "seed": (options.seed, study.seed), "emulate": (options.emulate, study.emulated),
        "history": (options.history, run.learns),
        "prior": (options.prior and options.prior.label, run.prior or "the shipped one"),
    }  # fmt: skip
    for name, (now, before) in asked.items():
        if now is not None and now != before:
            said = f"{run.path} was started with {name}: {before}, not {now}"
            raise RunError(f"{said}; to resume, leave {name} out, or start a new run")


def _refuse_changes(run: RunFolder, study: StudyRecord, identity: Fingerprint) -> None:
    """Raise RunError if what is known of a study's identity now is not what it was when the study began."""
    if changed := differences(study.fingerprint, identity):
        raise RunError(
            f"cannot resume {run.path}: {', '.join(changed)} changed since it was started, so its numbers "
            "would not be comparable; start a new run with another --out, or put back what was there"
        )
