"""A study: it checks its input, searches, measures the best again beside the default, and recommends."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster import inventory as ray_inventory
from raytune_infer.comparing.comparison_schedule import WORTHWHILE
from raytune_infer.errors import RunError, SpecError, UserError
from raytune_infer.priors.earlier_studies import earlier_studies
from raytune_infer.spec.service import Service
from raytune_infer.spec.service_spec import ServiceSpec
from raytune_infer.store.database import Database
from raytune_infer.store.database_url import absolute
from raytune_infer.store.prior import PriorFile, kept_prior, read_prior
from raytune_infer.store.records import StudyRecord
from raytune_infer.store.run_folder import RunFolder, default_folder, latest_run, make_folder, open_run, refuse_taken
from raytune_infer.study.fingerprint.fingerprint import differences, files_of, fingerprint
from raytune_infer.study.progress import Progress, Silent
from raytune_infer.study.reference import with_answer_check
from raytune_infer.study.result import StudyResult, conclude
from raytune_infer.study.session import check_session, no_running_loop, ray_session
from raytune_infer.study.space import ServiceSpace, service_space
from raytune_infer.study.trial import TrialRuntime
from searchers.registry import DEFAULT, LEARNS, PREDICT_GAINS, named
from serve_deployments.models.model import is_emulated

# Modules that run trials import Ray, which takes seconds. They are imported late: a refused study does not need it.
if TYPE_CHECKING:
    from raytune_infer.study.trial_log import TrialLog

Serving = Callable[[StudyRecord], AbstractContextManager[TrialRuntime]]
"""Function from a study's record to a context with the runtime that runs and loads its replicas."""


class Study:
    """Finds the best serving configuration of one service.

    Args:
        spec: the service.
        searcher: a name in `searchers.registry`; None for the default or, when resuming, the study's own.
        seed: seed of all random choices; None for 0 or, when resuming, the study's own.
        address: address of a running Ray cluster; None uses a live connection or RAY_ADDRESS, else starts a local Ray.
        emulate: nodes of a local emulated cluster (`T4:1,V100:1`), which is started instead.
        db: URL of the database; None for a SQLite file in the run's folder. When resuming, the one that the run was
            started with has to be named again.
        out: the run's folder; None for a new one under `runs/` (when resuming, the newest one there).
        history: whether the search learns from trials that other studies had finished before it began, in the folders
            beside the run's and in `db`; None for yes or, when resuming, the study's own choice.
        prior: a prior file that `raytune-infer meta-train` wrote; None for the shipped prior or, when resuming, the
            study's own.
        serving: replaces Ray Serve and the load generator, for tests and embedding.

    Raises:
        UserError: something is wrong that can be detected before anything starts (any subclass).
    """

    def __init__(
        self,
        spec: ServiceSpec,
        *,
        searcher: str | None = None,
        seed: int | None = None,
        address: str | None = None,
        emulate: str | None = None,
        db: str | None = None,
        out: str | Path | None = None,
        history: bool | None = None,
        prior: str | Path | None = None,
        serving: Serving | None = None,
    ) -> None:
        self.spec = spec
        if seed is not None and seed < 0:
            raise UserError(f"a seed must be 0 or more, got {seed}")
        self._searcher, self._seed = searcher, seed
        self._address, self._emulate, self._db = address, emulate, None if db is None else absolute(db)
        self._out = Path(out) if out is not None else None
        self._history = history
        try:
            named(searcher or DEFAULT)
        except ValueError as error:
            raise SpecError(str(error)) from None
        if spec.budget.stop_below is not None and (searcher or DEFAULT) not in PREDICT_GAINS:
            raise SpecError(
                f"{spec.place('budget')}: {searcher} cannot estimate the remaining gain, which `stop_below` needs; "
                f"use the searcher {' or '.join(sorted(PREDICT_GAINS))}, or leave `stop_below` out"
            )
        self._prior = None if prior is None else read_prior(prior, searcher or DEFAULT)
        self._service = Service(spec)
        self._serving = serving or self._on_ray_serve

    def run(
        self,
        trials: int | None = None,
        *,
        parallel: int | None = None,
        resume: bool = False,
        progress: Progress | None = None,
    ) -> StudyResult:
        """Run the search and the final comparison, and return the recommendation.

        Args:
            trials: number of trials of the search; None for the spec's or, when resuming, the study's own. A run that
                is resumed may have more than before; its comparison then begins anew.
            parallel: number of trials at a time; None for the spec's.
            resume: whether to resume the study in the run's folder; it keeps its searcher and seed.
            progress: notified of everything that happens.

        Raises:
            AllFailed: no trial gave a configuration to recommend; the message says why.
            UserError: there is nothing to resume, there is no cluster, or nothing fits on it.
        """
        progress, parallel = progress or Silent(), parallel or self.spec.budget.parallel
        run = open_run(self._out or latest_run(self.spec.name), self._db) if resume else None
        emulate = self._emulate if run is None else self._agreed(run, trials).emulated
        prior = self._prior if run is None else kept_prior(run)
        check_session(address=self._address, emulate=emulate)
        if run is None:
            self._refuse_unusable()
        if prior is not None:
            progress.note(prior.note())
        session = ray_session(
            address=self._address,
            emulate=emulate,
            folder=self.spec.folder,
            runs_code=self.spec.runs_code,
            modules=self.spec.modules,
        )
        with no_running_loop(), session:
            space = self._space(progress)
            identity = fingerprint(self._service, space)
            run = run or self._create(identity, trials or self.spec.budget.trials)
            progress.note(f"the run's folder is {run.path}")
            for code in self._service.code:
                progress.note(code)
            with run.locked(), self._opened(run, identity) as (database, study):
                run = run.mark(concluded=False)
                study = _continued(database, study, trials, self.spec.folder, progress)
                space = self._taught(space, run, study, progress)
                default = space.position(self.spec.default_config)
                with self._serving(study) as runtime:
                    log = self._log(run, space, database, study, runtime, progress)
                    self._search(log, run, parallel, progress, prior)
                    if default is None:
                        progress.note("the default configuration does not fit on this cluster: nothing to compare with")
                    log.compare(default, self.spec.budget, parallel, progress)
                if changed := differences(identity, fingerprint(self._service, space)):
                    progress.note(f"{', '.join(changed)} changed during the run, so its trials may not be of one model")
                run = run.mark(concluded=True)
                book = self._service.prices
                return conclude(run, space.problem, database.trials(study), default, f"{book.name}, {book.date}")

    def _log(
        self,
        run: RunFolder,
        space: ServiceSpace,
        database: Database,
        study: StudyRecord,
        runtime: TrialRuntime,
        progress: Progress,
    ) -> TrialLog:
        """Return the log that runs and records the study's trials, with a check of their answers."""
        from raytune_infer.study.ledger import Ledger
        from raytune_infer.study.trial_log import TrialLog

        ledger = Ledger(database, study, space.problem, emulated=space.resolver.emulated, progress=progress)
        runtime = with_answer_check(runtime, self._service, space, run.path, progress)
        return TrialLog(space, database, study, ledger, runtime)

    def _on_ray_serve(self, study: StudyRecord) -> AbstractContextManager[TrialRuntime]:
        from raytune_infer.study.serving import on_ray_serve

        return on_ray_serve(self._service, study)

    def _space(self, progress: Progress) -> ServiceSpace:
        inventory = ray_inventory.from_ray()
        self._refuse_pretence(inventory.emulated)
        emulated = is_emulated(self._service.source)
        space = service_space(self.spec, inventory, self._service.prices, emulated=emulated)
        for dropped in space.dropped:
            progress.note(f"{dropped.count} configurations left out: {dropped.reason}")
        return space

    def _refuse_unusable(self) -> None:
        """Check folder, database and model of a new run, before a cluster is joined or a folder made."""
        refuse_taken(self._new_folder())
        if self._db is not None:
            Database(self._db).close()
        self._refuse_pretence(self._emulate is not None)

    def _new_folder(self) -> Path:
        """Return the folder for a new run."""
        return self._out or default_folder(self.spec.name, dt.datetime.now())

    def _refuse_pretence(self, emulated: bool) -> None:
        if emulated and not is_emulated(self._service.source):
            raise UserError(
                f"{self.spec.name!r} is a real model, but GPUs of this cluster are emulated, so its measurements there "
                "would mean nothing; use a real cluster, or a model of cluster.emulated"
            )

    def _taught(self, space: ServiceSpace, run: RunFolder, study: StudyRecord, progress: Progress) -> ServiceSpace:
        """Return the space with the tasks of earlier studies to learn from."""
        if not run.learns:
            return space
        earlier = earlier_studies(run, study, emulated=space.resolver.emulated)
        if study.searcher in LEARNS:
            for note in earlier.notes():
                progress.note(note)
        return replace(space, problem=replace(space.problem, sources=earlier.tasks))

    def _search(
        self, log: TrialLog, run: RunFolder, parallel: int, progress: Progress, prior: PriorFile | None
    ) -> None:
        from raytune_infer.study.search import search

        known = [t for t in log.trials() if t.purpose == "search"]
        study = log.study
        progress.begins(known, study.trials, log.space.problem.objective)
        seconds = self.spec.budget.seconds
        if seconds is not None:
            seconds -= sum(t.seconds for t in known) / parallel  # used before the run was interrupted
        if len(known) < study.trials and (seconds is None or seconds > 0):
            left = search(
                log.space, trials=study.trials - len(known), parallel=parallel, seconds=seconds,
                stop_below=self.spec.budget.stop_below,
                searcher=named(study.searcher, None if prior is None else prior.surfaces), seed=study.seed,
                known=tuple(known), ledger=log.ledger, runtime=log.runtime, storage=run.path,
            )  # fmt: skip
            if left is not None:
                progress.note(f"stopped: the chance that a configuration {WORTHWHILE:.0%} better is left is {left:.0%}")

    def _create(self, identity: Mapping[str, Any], trials: int) -> RunFolder:
        path = self._new_folder()
        make_folder(path)
        run = RunFolder(path, self._db, 0, learns=self._history is not False)
        # Two runs that start at once must not both find the folder free: one's pointer would hide the other's study.
        with run.locked():
            refuse_taken(path)
            database = run.database()
            study = database.create_study(
                name=self.spec.name, spec=self.spec.text, folder=str(self.spec.folder.resolve()),
                searcher=self._searcher or DEFAULT, seed=self._seed or 0, trials=trials,
                fingerprint=identity, emulated=self._emulate,
            )  # fmt: skip
            database.close()
            run = replace(run, study_id=study.id, payload_type=self._service.payload_type.as_dict())
            if self._prior is not None:
                run = self._prior.kept(run)
            run.save()
        return run

    def _agreed(self, run: RunFolder, trials: int | None) -> StudyRecord:
        """Return the study to resume; raises RunError if the present arguments contradict it."""
        database, study = run.load()
        database.close()
        fewer = trials is not None and trials < study.trials
        asked = {
            "trials": (trials if fewer else None, study.trials), "searcher": (self._searcher, study.searcher),
            "seed": (self._seed, study.seed), "emulate": (self._emulate, study.emulated),
            "history": (self._history, run.learns),
            "prior": (self._prior and self._prior.label, run.prior or "the shipped one"),
        }  # fmt: skip
        for name, (now, before) in asked.items():
            if now is not None and now != before:
                said = f"{run.path} was started with {name}: {before}, not {now}"
                raise RunError(f"{said}; to resume, leave {name} out, or start a new run")
        _refuse_changes(run, study, files_of(self._service))
        return study

    @contextmanager
    def _opened(self, run: RunFolder, identity: Mapping[str, Any]) -> Iterator[tuple[Database, StudyRecord]]:
        database, study = run.load()
        try:
            _refuse_changes(run, study, identity)
            yield database, study
        finally:
            database.close()


def _refuse_changes(run: RunFolder, study: StudyRecord, identity: Mapping[str, Any]) -> None:
    """Raise RunError if what is known of a study's identity now is not what it was when the study began."""
    if changed := differences(study.fingerprint, identity):
        raise RunError(
            f"cannot resume {run.path}: {', '.join(changed)} changed since it was started, so its numbers "
            "would not be comparable; start a new run with another --out, or put back what was there"
        )


def _continued(
    database: Database, study: StudyRecord, trials: int | None, folder: Path, progress: Progress
) -> StudyRecord:
    """Return the study that goes on, with what a kill has cut off ended, and with more trials if more are asked for.

    The folder of its service.yaml may have been moved since, and what is exported names it.
    """
    if lost := database.interrupt_running(study):
        progress.note(f"{lost} unfinished trials of the interrupted run are ignored")
    if (here := str(folder.resolve())) != study.folder:
        study = database.move(study, here)
    return database.extend(study, trials) if trials is not None and trials > study.trials else study
