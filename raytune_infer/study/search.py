"""The search as a Ray Tune run: our searcher proposes, Tune schedules, every event goes to the history."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.callback import Callback
from ray.tune.experiment import Trial

from raytune_infer.comparing.to_beat import rate_to_beat
from raytune_infer.environment import environment, unless_set
from raytune_infer.store.database import Database
from raytune_infer.store.records import Outcome, Purpose, StudyRecord, TrialRecord, observations
from raytune_infer.study.progress import Progress
from raytune_infer.study.space import Resolver, ServiceSpace
from raytune_infer.study.suggestion import Suggestion
from raytune_infer.study.trial import Measure, TrialRuntime, run_trial
from searchers.base import PredictsGain, Problem
from searchers.ray_tune.tune_searcher import TuneSearcher
from searchers.registry import Factory
from serve_deployments.backend import Backend

WORTHWHILE = 0.05
"""A gain that a search goes on for, as a fraction of the best so far."""

_DIED = "TrialDied: the trial's own process ended"

_TRIAL_MEMORY_BYTES = 64 * 2**20
"""A trial's own process asks for no core: it waits, and the replica must have them all. Tune needs some
resource in a request, and memory is what it really takes."""


class Ledger:
    """Writes down each trial as it begins and as it ends.

    Args:
        database: where to.
        study: which study's trials.
        problem: gives prices and values.
        emulated: the devices are emulated.
        progress: told of everything that was written.
    """

    def __init__(
        self, database: Database, study: StudyRecord, problem: Problem, *, emulated: bool, progress: Progress
    ) -> None:
        self._database, self._study, self._problem = database, study, problem
        self._emulated, self._progress = emulated, progress

    def start(self, position: int, purpose: Purpose) -> int:
        """A trial begins; returns its key for `finish`."""
        config = self._problem.space[position]
        usd_per_hour = float(self._problem.usd_per_hour[position])
        key, number = self._database.start_trial(
            self._study, purpose=purpose, position=position, config=config, usd_per_hour=usd_per_hour,
            emulated=self._emulated,
        )  # fmt: skip
        self._progress.started(number, purpose, config)
        return key

    def finish(self, key: int, position: int, outcome: Outcome) -> TrialRecord:
        """A trial has ended."""
        usd_per_hour = float(self._problem.usd_per_hour[position])
        value = self._problem.objective.value(outcome.metrics, usd_per_hour)
        trial = self._database.finish_trial(key, outcome, value)
        self._progress.finished(trial)
        return trial


class _Recorder(Callback):
    """Tune's events, in the driver, on their way to the ledger."""

    def __init__(self, ledger: Ledger, backend: Backend) -> None:
        self._ledger, self._backend = ledger, backend
        self._running: dict[str, tuple[int, int]] = {}
        self._lost: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        # Tuner pickles its callbacks for Tuner.restore. A run of ours goes on from the history instead, and a
        # database connection does not travel.
        return {}

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        if trial.trial_id in self._lost:
            return  # the second attempt at a trial that is in the ledger
        position = Suggestion.of(trial.config).position
        self._running[trial.trial_id] = (self._ledger.start(position, "search"), position)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        self._finish(trial, result["outcome"])

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        # Tune keeps what each trial reported, statistics of every number in it, and writes all of it again and
        # again; the history has it, so a study's memory need not grow with its trials.
        kept = trial.run_metadata
        kept.last_result.pop("outcome", None)
        kept.metric_analysis.clear()
        kept.metric_n_steps.clear()

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        # run_trial turns every exception into an outcome, so only the end of its process comes here.
        self._backend.remove(trial.trial_id)
        self._lost.add(trial.trial_id)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._backend.remove(trial.trial_id)
        self._finish(trial, Outcome(metrics=None, reason=_DIED))

    def _finish(self, trial: Trial, outcome: Outcome) -> None:
        # A trial that fails after its report has both events; the first one stands.
        if (running := self._running.pop(trial.trial_id, None)) is not None:
            lost = outcome.lost or (_DIED if trial.trial_id in self._lost else None)
            self._ledger.finish(*running, replace(outcome, lost=lost))


class _StudySearcher(TuneSearcher):
    """Suggests nothing more once time is over or little is to be gained; trials that run are measured to their end."""

    deadline: float = float("inf")
    stop_below: float = 0.0
    left: float | None = None

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]  # FINISHED is a str
        """See `TuneSearcher.suggest`; the configuration is a `Suggestion`."""
        if time.monotonic() >= self.deadline or self._enough():
            return self.FINISHED
        config = super().suggest(trial_id)
        if not isinstance(config, dict):
            return config
        position = self.position_of(trial_id)
        return Suggestion(position, self.problem.space[position], self._to_beat_rps(position)).for_tune()

    def _to_beat_rps(self, position: int) -> float | None:
        best = self.problem.best(self.history)
        usd_per_hour = float(self.problem.usd_per_hour[position])
        return rate_to_beat(self.problem.objective, usd_per_hour, self.problem.value(best) if best else None)

    def _enough(self) -> bool:
        if not self.stop_below or not isinstance(self.our_searcher, PredictsGain):
            return False
        left = self.our_searcher.chance_of_more(self.history, WORTHWHILE)
        self.left = left if left < self.stop_below else None
        return self.left is not None


def search(
    space: ServiceSpace,
    *,
    trials: int,
    parallel: int,
    seconds: float | None,
    stop_below: float | None,
    searcher: Factory,
    seed: int,
    known: tuple[TrialRecord, ...],
    ledger: Ledger,
    runtime: TrialRuntime,
    storage: Path,
) -> float | None:
    """Run up to `trials` more trials, `parallel` at a time; what they gave is in the ledger's database.

    Args:
        space: what is searched.
        trials: how many more.
        parallel: how many at once.
        seconds: no trial begins later than that; None for no limit.
        stop_below: no trial begins once the chance that a configuration better by `WORTHWHILE` is left is
            below this; None for never.
        searcher: makes it, given the problem.
        seed: of its random choices.
        known: trials that are finished already.
        ledger: where each trial is written down.
        runtime: where they are run.
        storage: folder for Tune's own files.

    Returns:
        The chance that was left, if the search ended for that.
    """
    algorithm = _StudySearcher.for_problem(space.problem, searcher, observations(known), seed)
    if seconds is not None:
        algorithm.deadline = time.monotonic() + seconds
    algorithm.stop_below = stop_below or 0.0
    trainable = tune.with_resources(
        tune.with_parameters(_trainable, resolver=space.resolver, backend=runtime.backend, measure=runtime.measure),
        tune.PlacementGroupFactory([{"memory": _TRIAL_MEMORY_BYTES}]),
    )
    with quiet_tune():
        tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=algorithm, num_samples=trials, max_concurrent_trials=parallel, reuse_actors=True
            ),
            run_config=tune.RunConfig(
                name="tune", storage_path=str(storage.resolve()), verbose=0,
                callbacks=[_Recorder(ledger, runtime.backend)],
                failure_config=tune.FailureConfig(max_failures=1),  # a process that ended: once more, as in run_trial
            ),
        ).fit()  # fmt: skip
    return algorithm.left


@contextmanager
def quiet_tune() -> Iterator[None]:
    """Tune without what ledger and history do, for this run alone. What the user sets stands."""
    wanted = {
        "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C must reach us: Tune would return as if done
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # files that repeat what the history has
        "TUNE_GLOBAL_CHECKPOINT_S": "inf",  # all trials written anew every ten seconds, though nobody reads them
        "RAY_AIR_NEW_OUTPUT": "0",  # prints a banner even at verbose=0
    }
    log = logging.getLogger("ray.tune")
    level = log.level
    log.setLevel(logging.CRITICAL)  # failed trials are told by the ledger
    try:
        with environment(unless_set(wanted)):
            yield
    finally:
        log.setLevel(level)


def _trainable(config: Mapping[str, Any], *, resolver: Resolver, backend: Backend, measure: Measure) -> None:
    suggestion = Suggestion.of(config)
    outcome = run_trial(
        resolver.settings(suggestion.config), tune.get_context().get_trial_id(), backend=backend, measure=measure,
        to_beat_rps=suggestion.to_beat_rps,
    )  # fmt: skip
    tune.report({**(outcome.metrics or {}), "could_not_run": outcome.reason, "outcome": outcome})
