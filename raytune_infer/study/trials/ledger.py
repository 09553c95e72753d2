"""Recording of each trial in the database as it begins and ends, from Ray Tune's events."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ray.tune.callback import Callback
from ray.tune.experiment import Trial

from raytune_infer.store.database import Database
from raytune_infer.store.records import Outcome, Purpose, StudyRecord, TrialRecord
from raytune_infer.study.progress import Progress
from raytune_infer.study.suggestion import Suggestion
from searchers.base import Problem
from serve_deployments.backend import Backend

_DIED = "TrialDied: the trial's own process ended"


class Ledger:
    """Records each trial in the database as it begins and ends.

    Args:
        database: the database.
        study: the study that the trials belong to.
        problem: gives prices and values.
        emulated: whether the devices are emulated.
        progress: notified of every record.
    """

    def __init__(
        self, database: Database, study: StudyRecord, problem: Problem, *, emulated: bool, progress: Progress
    ) -> None:
        self._database, self._study, self._problem = database, study, problem
        self._emulated, self._progress = emulated, progress

    def start(self, position: int, purpose: Purpose) -> int:
        """Record that a trial begins; returns its key for `finish`."""
        config = self._problem.space[position]
        usd_per_hour = float(self._problem.usd_per_hour[position])
        key, number = self._database.start_trial(
            self._study, purpose=purpose, position=position, config=config, usd_per_hour=usd_per_hour,
            emulated=self._emulated,
        )  # fmt: skip
        self._progress.started(number, purpose, config)
        return key

    def chance_of_more(self, chance: float) -> None:
        """Pass on how likely it is that there is more to gain, as the searcher estimates before each suggestion."""
        self._progress.chance_of_more(chance)

    def finish(self, key: int, position: int, outcome: Outcome) -> TrialRecord:
        """Record that a trial has ended."""
        usd_per_hour = float(self._problem.usd_per_hour[position])
        value = self._problem.objective.value(outcome.metrics, usd_per_hour)
        trial = self._database.finish_trial(key, outcome, value)
        self._progress.finished(trial)
        return trial


class Recorder(Callback):
    """Callback of Tune, in the driver, that passes its events to the ledger."""

    def __init__(self, ledger: Ledger, backend: Backend) -> None:
        self._ledger, self._backend = ledger, backend
        self._running: dict[str, tuple[int, int]] = {}
        self._lost: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        # Tuner pickles its callbacks for Tuner.restore. Our runs resume from the database instead, and a database
        # connection cannot be pickled.
        return {}

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Record the start of a trial, once for all its attempts."""
        if trial.trial_id in self._lost:
            return  # the second attempt of a trial that is recorded already
        position = Suggestion.of(trial.config).position
        self._running[trial.trial_id] = (self._ledger.start(position, "search"), position)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Record the outcome that a trial has reported."""
        self._finish(trial, result["outcome"])

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Remove a completed trial's results from Tune's memory."""
        # Tune keeps what each trial reported, with statistics of every number in it, and writes all of it repeatedly;
        # the database has it, so a study's memory need not grow with its trials.
        kept = trial.run_metadata
        kept.last_result.pop("outcome", None)
        kept.metric_analysis.clear()
        kept.metric_n_steps.clear()

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Prepare for the second attempt of a trial whose process has ended."""
        # run_trial turns every exception into an outcome, so only the end of its process comes here.
        self._backend.remove(trial.trial_id)
        self._lost.add(trial.trial_id)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Record as failed a trial whose process has ended and that Tune does not retry."""
        self._backend.remove(trial.trial_id)
        self._finish(trial, Outcome(metrics=None, reason=_DIED))

    def _finish(self, trial: Trial, outcome: Outcome) -> None:
        # A trial that fails after its report causes both events; only the first one counts.
        if (running := self._running.pop(trial.trial_id, None)) is not None:
            lost = outcome.lost or (_DIED if trial.trial_id in self._lost else None)
            self._ledger.finish(*running, replace(outcome, lost=lost))
