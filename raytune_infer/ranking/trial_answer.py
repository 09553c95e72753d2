"""A trial's own answer: the rate that its load test found, and the level that represents it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from raytune_infer.store.records import TrialRecord
from serve_deployments.metrics.level_result import LevelResult


@dataclass(frozen=True)
class TrialAnswer:
    """One trial's own answer.

    Args:
        level: the level that represents it.
        rate_rps: the trial's rate in requests/s; an estimate from all levels if it ended early or did not reach the
            precision in time.
        interval_rps: 95 % interval of the rate; None where none was recorded.
        ended_early: whether the trial stopped because it could no longer win.
    """

    level: LevelResult
    rate_rps: float
    interval_rps: tuple[float, float] | None = None
    ended_early: bool = False

    @property
    def at_its_rate(self) -> TrialAnswer:
        """The same answer, with the trial's rate as the rate of the level."""
        return replace(self, level=replace(self.level, rate_rps=self.rate_rps))


def answer_of(trial: TrialRecord) -> TrialAnswer | None:
    """Return a trial's own answer; None if it has none."""
    outcome = trial.outcome
    if outcome.reported is None or not outcome.levels:
        return None
    level = outcome.levels[outcome.reported]
    return TrialAnswer(level, trial.metrics["rps"], outcome.interval_rps, bool(outcome.ended_early))
