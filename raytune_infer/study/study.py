"""A study: it checks its input, searches, measures the best again beside the default, and recommends."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cluster import inventory as ray_inventory
from raytune_infer.comparing.comparison_schedule import WORTHWHILE
from raytune_infer.counted import counted
from raytune_infer.errors import SpecError, UserError
from raytune_infer.priors.earlier_studies import earlier_studies
from raytune_infer.spec.knobs.condition_notes import condition_notes
from raytune_infer.spec.service import Service
from raytune_infer.spec.service_spec import ServiceSpec
from raytune_infer.store.database import Database
from raytune_infer.store.database_url import absolute
from raytune_infer.store.prior import PriorFile, read_prior
from raytune_infer.store.records import StudyRecord
from raytune_infer.store.run_folder import RunFolder
from raytune_infer.study.answers.reference import with_answer_check
from raytune_infer.study.connection.session import check_session, no_running_loop, ray_session
from raytune_infer.study.fingerprint.fingerprint import differences, files_of, fingerprint
from raytune_infer.study.monitoring.study_series import labels_of
from raytune_infer.study.progress import Progress, Silent, Together
from raytune_infer.study.result import StudyResult, conclude
from raytune_infer.study.run_start import Start, StudyOptions, anew, continued, new_run, opened, resumed
from raytune_infer.study.space import ServiceSpace, service_space
from raytune_infer.study.trials.trial import TrialRuntime
from searchers.registry import DEFAULT, LEARNS, PREDICT_GAINS, named
from serve_deployments.models.model import is_emulated

# Modules that run trials import Ray, which takes seconds. They are imported late: a refused study does not need it.
if TYPE_CHECKING:
    from raytune_infer.study.trials.trial_log import TrialLog

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
        try:
            named(searcher or DEFAULT)
        except ValueError as error:
            raise SpecError(str(error)) from None
        if spec.budget.stop_below is not None and (searcher or DEFAULT) not in PREDICT_GAINS:
            raise SpecError(
                f"{spec.place('budget')}: {searcher} cannot estimate the remaining gain, which `stop_below` needs; "
                f"use the searcher {' or '.join(sorted(PREDICT_GAINS))}, or leave `stop_below` out"
            )
        self._options = StudyOptions(
            searcher=searcher, seed=seed, emulate=emulate, db=None if db is None else absolute(db),
            out=None if out is None else Path(out), history=history,
            prior=None if prior is None else read_prior(prior, searcher or DEFAULT),
        )  # fmt: skip
        self._address = address
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
        start = self._start(trials, resume=resume)
        if start.prior is not None:
            progress.note(start.prior.note())
        with no_running_loop(), self._session(start.emulate):
            space = self._space(progress)
            identity = fingerprint(self._service, space, start.files)
            run = start.run or new_run(self._service, self._options, identity, trials or self.spec.budget.trials)
            for note in (f"the run's folder is {run.path}", *self._service.code):
                progress.note(note)
            with opened(run, identity) as (run, database, study):
                study = continued(database, study, trials, self.spec.folder, progress)
                space = self._taught(space, run, study, progress)
                default = space.position(self.spec.default_config)
                with self._serving(study) as runtime, _shown(study) as shown:
                    log = self._log(run, space, database, study, runtime, Together(progress, shown))
                    self._search(log, run, parallel, start.prior)
                    log.compare(default, self.spec.budget, parallel)
                if changed := differences(start.files, files_of(self._service)):
                    progress.note(f"{', '.join(changed)} changed during the run, so its trials may not be of one model")
                run = run.mark(concluded=True)
                book = self._service.prices
                return conclude(run, space.problem, database.trials(study), default, f"{book.name}, {book.date}")

    def _start(self, trials: int | None, *, resume: bool) -> Start:
        """Return what is known of the study; raises UserError for what can be refused before a cluster is joined."""
        if resume:
            start = resumed(self._service, self._options, trials)
            check_session(address=self._address, emulate=start.emulate)
            return start
        check_session(address=self._address, emulate=self._options.emulate)
        self._refuse_pretence(self._options.emulate is not None)
        return anew(self._service, self._options)

    def _session(self, emulate: str | None) -> AbstractContextManager[None]:
        spec = self.spec
        return ray_session(
            address=self._address, emulate=emulate, folder=spec.folder, runs_code=spec.runs_code, modules=spec.modules
        )

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
        from raytune_infer.study.trials.ledger import Ledger
        from raytune_infer.study.trials.trial_log import TrialLog

        ledger = Ledger(database, study, space.problem, emulated=space.resolver.emulated, progress=progress)
        runtime = with_answer_check(runtime, self._service, space, run.path, progress)
        return TrialLog(space, database, study, ledger, runtime, progress)

    def _on_ray_serve(self, study: StudyRecord) -> AbstractContextManager[TrialRuntime]:
        from raytune_infer.study.serving import on_ray_serve

        return on_ray_serve(self._service, study)

    def _space(self, progress: Progress) -> ServiceSpace:
        inventory = ray_inventory.from_ray()
        self._refuse_pretence(inventory.emulated)
        emulated = is_emulated(self._service.source)
        space = service_space(self.spec, inventory, self._service.prices, emulated=emulated)
        for note in condition_notes(self.spec.knobs, self.spec.where):
            progress.note(note)
        for dropped in space.dropped:
            progress.note(f"{counted(dropped.count, 'configuration')} left out: {dropped.reason}")
        return space

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

    def _search(self, log: TrialLog, run: RunFolder, parallel: int, prior: PriorFile | None) -> None:
        """Run what is left of the search."""
        from raytune_infer.study.search import SearchBudget, search

        study, known = log.study, log.searched()
        log.progress.begins(log.trials(), study.trials, log.space.problem.objective)
        budget = SearchBudget.left_by(known, self.spec.budget, trials=study.trials, parallel=parallel)
        if budget.is_spent:
            return
        searcher = named(study.searcher, None if prior is None else prior.surfaces)
        left = search(log, budget, searcher, storage=run.path)
        if left is not None:
            log.progress.note(f"stopped: the chance that a configuration {WORTHWHILE:.0%} better is left is {left:.0%}")


def _shown(study: StudyRecord) -> AbstractContextManager[Progress]:
    """Return the context within which the study is shown to whoever watches the cluster."""
    from raytune_infer.study.monitoring.study_gauges import study_gauges

    return study_gauges(labels_of(study))
