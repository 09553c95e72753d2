"""The trials of one study as they are run and recorded, and its final comparison."""

from __future__ import annotations

from dataclasses import dataclass

from raytune_infer.comparing.comparison_schedule import Turn, schedule_of
from raytune_infer.comparing.other_processes import least_share
from raytune_infer.spec.service_spec import BudgetSpec
from raytune_infer.store.database import Database
from raytune_infer.store.records import StudyRecord, TrialRecord
from raytune_infer.study.progress import Progress
from raytune_infer.study.space import ServiceSpace
from raytune_infer.study.trials.ledger import Ledger
from raytune_infer.study.trials.trial import TrialRuntime, run_trial


@dataclass(frozen=True)
class TrialLog:
    """Runs and records the trials of one study.

    Args:
        space: the study's space.
        database: the open database with the study.
        study: the study.
        ledger: records each trial.
        runtime: runs and loads the replicas.
        progress: notified of everything that happens.
    """

    space: ServiceSpace
    database: Database
    study: StudyRecord
    ledger: Ledger
    runtime: TrialRuntime
    progress: Progress

    def trials(self) -> tuple[TrialRecord, ...]:
        """Return the study's finished trials."""
        return self.database.trials(self.study)

    def searched(self) -> tuple[TrialRecord, ...]:
        """Return those of the search."""
        return tuple(t for t in self.trials() if t.purpose == "search")

    def compare(self, default: int | None, budget: BudgetSpec, parallel: int) -> None:
        """Run what is left of the final comparison: the search's best and the default, side by side in rounds.

        Args:
            default: position of the configuration to beat; None if it does not fit on this cluster.
            budget: the budget of the study.
            parallel: number of trials at a time in the search.
        """
        if default is None:
            self.progress.note("the default configuration does not fit on this cluster: nothing to compare with")
        trials = self.trials()
        schedule = schedule_of(trials, self.space.problem.objective, default, budget, parallel, self.runtime.again)
        if cut_off := [t.number for t in schedule.cut_off(trials)]:
            self.database.supersede(self.study, cut_off)
            trials = self.trials()
            again = ", ".join(map(str, cut_off))
            self.progress.note(f"the round that was cut off is measured anew, without trial {again}")
        while (turn := schedule.turn(trials)) is not None:
            self._measured_again(turn, least_share(t.outcome.others_share for t in trials))
            trials = self.trials()

    def _measured_again(self, turn: Turn, usual_share: float | None) -> None:
        key = self.ledger.start(turn.position, "final")
        settings = self.space.resolver.settings(self.space.problem.space[turn.position])
        name, runtime = f"final-{turn.round}-{turn.position}", self.runtime
        measure = runtime.measure_in(turn.round)
        outcome = run_trial(
            settings, name, backend=runtime.backend, measure=measure, check=runtime.check, usual_share=usual_share,
            beside=runtime.beside,
        )  # fmt: skip
        self.ledger.finish(key, turn.position, outcome)
