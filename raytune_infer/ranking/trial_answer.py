"""A trial's own answer: the rate that its load test found, and the level that represents it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from raytune_infer.store.records import TrialRecord
from serve_deployments.metrics.level_result import LevelResult, check_around
from serve_deployments.metrics.metric_table import metric_of


@dataclass(frozen=True)
class TrialAnswer:
    """One trial's own answer.

    Args:
        level: the level that represents it.
        metrics: the trial's own figures at its rate, which may be estimates at another rate than the level's.
        interval_rps: 95 % interval of the rate; None where none was recorded.
        ended_early: whether the trial stopped because it could no longer win.
        client_limited: whether the load generator was its bottleneck at this level or above: the rate is a lower bound.
    """

    level: LevelResult
    metrics: Mapping[str, float]
    interval_rps: tuple[float, float] | None = None
    ended_early: bool = False
    client_limited: bool = False

    def __post_init__(self) -> None:
        check_around(self.rate_rps, self.interval_rps)

    @property
    def rate_rps(self) -> float:
        """The trial's rate in requests/s; an estimate from all levels if it ended early or was not precise in time."""
        return self.metrics["rps"]

    @property
    def at_its_rate(self) -> TrialAnswer:
        """The same answer, with the trial's rate and times as those of the level."""
        return replace(self, level=with_figures(self.level, self.metrics))


def with_figures(level: LevelResult, metrics: Mapping[str, float]) -> LevelResult:
    """Return a level with the rate and the times that are reported for a configuration, in place of its own."""
    values = {name: dict(of.values) for name, of in level.distributions.items()}
    for name, value in metrics.items():
        metric = metric_of(name)
        if metric is not None and metric.time is not None and metric.time.name in values:
            values[metric.time.name][metric.statistic] = value
    distributions = {name: replace(of, values=values[name]) for name, of in level.distributions.items()}
    return replace(level, rate_rps=metrics["rps"], distributions=distributions)


def answer_of(trial: TrialRecord) -> TrialAnswer | None:
    """Return a trial's own answer; None if it has none."""
    outcome = trial.outcome
    if outcome.reported is None or not outcome.levels:
        return None
    level = outcome.levels[outcome.reported]
    return TrialAnswer(level, trial.metrics, outcome.interval_rps, bool(outcome.ended_early), outcome.client_limited)
