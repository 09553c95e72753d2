"""What a trial said itself: the rate that it found, and the level that stands for it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from raytune_infer.store.records import TrialRecord
from serve_deployments.metrics.level_result import LevelResult


@dataclass(frozen=True)
class TrialAnswer:
    """One trial's own answer.

    Args:
        level: the level that stands for it.
        rate_rps: the trial's rate; an estimate from all levels where it ended early or was not precise in time.
        interval_rps: its 95 % interval; None where none was recorded.
        ended_early: the trial stopped once it could no longer win.
    """

    level: LevelResult
    rate_rps: float
    interval_rps: tuple[float, float] | None = None
    ended_early: bool = False

    @property
    def at_its_rate(self) -> TrialAnswer:
        """The same with the level at the trial's rate."""
        return replace(self, level=replace(self.level, rate_rps=self.rate_rps))


def answer_of(trial: TrialRecord) -> TrialAnswer | None:
    """A trial's own answer; None if it has none."""
    outcome = trial.outcome
    if outcome.reported is None or not outcome.levels:
        return None
    level = outcome.levels[outcome.reported]
    return TrialAnswer(level, trial.metrics["rps"], outcome.interval_rps, bool(outcome.ended_early))
