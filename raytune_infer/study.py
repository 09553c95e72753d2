"""A study: check everything, search, measure the best again beside the default, recommend."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cluster import inventory as ray_inventory
from raytune_infer.errors import RunError, SpecError, UserError
from raytune_infer.history import Database, StudyRecord
from raytune_infer.knobs import ServiceSpace, service_space
from raytune_infer.progress import Progress, Silent
from raytune_infer.result import StudyResult, conclude, finalists, position_of
from raytune_infer.run_folder import RunFolder, default_folder, latest_run, open_run, sqlite_url
from raytune_infer.search import Ledger, search
from raytune_infer.service import Service, Serving
from raytune_infer.session import ray_session
from raytune_infer.spec import ServiceSpec
from raytune_infer.trial import run_trial
from searchers.named import named
from serve_deployments.models import is_emulated


class Study:
    """Finds the best serving configuration of one service.

    Args:
        spec: the service.
        searcher: a name of `searchers.named`.
        seed: of all random choices.
        address: of a running Ray cluster; None uses a live connection or RAY_ADDRESS, else starts a local Ray.
        emulate: nodes of a local emulated cluster (`T4:1,V100:1`) instead.
        db: URL of the database of histories; None keeps a SQLite file in the run's folder.
        out: the run's folder; None for a new one under `runs/` (resuming: the newest one there).
        serving: replaces Ray Serve and the load actor, for tests and embedding.

    Raises:
        UserError: of whatever kind, for all that can be known before anything starts.
    """

    def __init__(
        self,
        spec: ServiceSpec,
        *,
        searcher: str = "morphling",
        seed: int = 0,
        address: str | None = None,
        emulate: str | None = None,
        db: str | None = None,
        out: str | Path | None = None,
        serving: Serving | None = None,
    ) -> None:
        self.spec, self.searcher, self.seed = spec, searcher, seed
        self._address, self._emulate, self._db = address, emulate, db
        self._out = Path(out) if out is not None else None
        try:
            named(searcher)
        except ValueError as error:
            raise SpecError(str(error)) from None
        self._service = Service(spec)
        self._serving = serving or self._service.serving

    def run(
        self,
        trials: int | None = None,
        *,
        parallel: int | None = None,
        resume: bool = False,
        progress: Progress | None = None,
    ) -> StudyResult:
        """Search, compare, recommend.

        Args:
            trials: budget of the search; None for the spec's. A resumed study keeps its own.
            parallel: trials at a time; None for the spec's.
            resume: go on with the study in the run's folder; it keeps its searcher and seed.
            progress: told of everything that happens.

        Raises:
            AllFailed: no trial gave a configuration to recommend; the message says why.
            UserError: there is nothing to resume, no cluster, or nothing fits on it.
        """
        progress = progress or Silent()
        run = open_run(self._out or latest_run(self.spec.name)) if resume else None
        emulate = self._emulate
        if run is not None and emulate is None:
            emulate = _peek(run).emulated
        with ray_session(address=self._address, emulate=emulate, folder=self.spec.folder):
            space = self._space(progress)
            run = run or self._create(space, trials or self.spec.budget.trials)
            with _opened(run, space) as (database, study):
                return self._search(run, space, database, study, parallel, progress)

    def _space(self, progress: Progress) -> ServiceSpace:
        inventory = ray_inventory.from_ray()
        emulated = is_emulated(self._service.source)
        if inventory.emulated and not emulated:
            raise UserError(
                f"{self.spec.name!r} is a real model, but GPUs of this cluster are emulated, and nothing that it "
                "did there would be true; use a real cluster, or a model of cluster.emulated"
            )
        space = service_space(self.spec, inventory, self._service.prices, emulated=emulated)
        for dropped in space.dropped:
            progress.note(f"{dropped.count} configurations left out: {dropped.reason}")
        return space

    def _search(
        self, run: RunFolder, space: ServiceSpace, database: Database, study: StudyRecord,
        parallel: int | None, progress: Progress,
    ) -> StudyResult:  # fmt: skip
        problem = space.problem
        if lost := database.interrupt_running(study):
            progress.note(f"{lost} trials that the interrupted run did not finish are set aside, uncounted")
        ledger = Ledger(database, study, problem, emulated=space.resolver.emulated, progress=progress)
        known = database.trials(study)
        done = sum(t.purpose == "search" for t in known)
        progress.begins(done, study.trials, problem.objective)
        default = position_of(problem, self.spec.default_config)
        with self._serving(study) as (backend, measure):
            if done < study.trials:
                search(
                    space, trials=study.trials - done, parallel=parallel or self.spec.budget.parallel,
                    seconds=self.spec.budget.seconds, searcher=study.searcher, seed=study.seed, known=known,
                    ledger=ledger, backend=backend, measure=measure, storage=run.path,
                )  # fmt: skip
            trials = database.trials(study)
            compared = {t.position for t in trials if t.purpose == "final"}
            for position in finalists(problem, trials, default):
                if position not in compared:
                    key = ledger.start(position, "final")
                    settings = space.resolver.settings(problem.space[position])
                    ledger.finish(key, position, run_trial(settings, backend=backend, measure=measure))
        book = self._service.prices
        return conclude(run, problem, database.trials(study), default, f"{book.name}, {book.date}")

    def _create(self, space: ServiceSpace, trials: int) -> RunFolder:
        path = self._out or default_folder(self.spec.name, dt.datetime.now())
        if (path / "run.json").exists():
            raise RunError(f"{path} has a run already; go on with it by --resume, or choose another --out")
        path.mkdir(parents=True, exist_ok=True)
        url = self._db or sqlite_url(path)
        database = Database(url)
        study = database.create_study(
            name=self.spec.name, spec=self.spec.text, folder=str(self.spec.folder.resolve()),
            searcher=self.searcher, seed=self.seed, trials=trials, space=_fingerprint(space), emulated=self._emulate,
        )  # fmt: skip
        database.close()
        run = RunFolder(path, url, study.id)
        run.save()
        return run


def _fingerprint(space: ServiceSpace) -> list[dict[str, Any]]:
    """What must not change between a run and its continuation: positions, and what counts as good."""
    problem, goal = space.problem, space.problem.objective
    knobs: list[dict[str, Any]] = [{"knob": k.name, "values": list(k.values)} for k in problem.space.knobs]
    objective = {"goal": goal.goal.text, "at_most": dict(goal.at_most), "at_least": dict(goal.at_least)}
    return [*knobs, {"configurations": len(problem.space)}, objective]


@contextmanager
def _opened(run: RunFolder, space: ServiceSpace) -> Iterator[tuple[Database, StudyRecord]]:
    database, study = run.load()
    try:
        if list(study.space) != _fingerprint(space):
            raise RunError(
                f"{run.path} searched something else: its knobs, values, objective, limits, or what fits on the "
                "cluster differ; start a new run with another --out"
            )
        yield database, study
    finally:
        database.close()


def _peek(run: RunFolder) -> StudyRecord:
    database, study = run.load()
    database.close()
    return study
