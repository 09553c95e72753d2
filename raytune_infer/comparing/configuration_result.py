"""The result of one configuration: its figures are means over the rounds of the final comparison."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from raytune_infer.comparing.comparison import Comparison, Contestant
from raytune_infer.comparing.means import is_share, mean_over_rounds
from raytune_infer.store.records import TrialRecord
from searchers.space import Config
from serve_deployments.metrics.answers.agreement import AnswerAgreement, over_rounds
from serve_deployments.metrics.level_result import check_around


@dataclass(frozen=True)
class ConfigurationResult:
    """One configuration with the figures that are reported for it, everywhere the same.

    Args:
        metrics: metric → its mean over the rounds that kept the limits (over all rounds that ran if none did).
        trials: the trials whose means these are; the last one names machine and settings.
        interval_rps: 95 % interval of `metrics["rps"]`; None where there is none.

    Raises:
        ValueError: there is no trial, or the rate lies outside its interval.
    """

    metrics: Mapping[str, float]
    trials: tuple[TrialRecord, ...]
    interval_rps: tuple[float, float] | None = None
    usd_per_hour: float = field(init=False)

    def __post_init__(self) -> None:
        if not self.trials:
            raise ValueError("a configuration without a trial has no result")
        check_around(self.metrics.get("rps", math.nan), self.interval_rps)
        object.__setattr__(self, "usd_per_hour", self.trials[-1].usd_per_hour)

    @property
    def position(self) -> int:
        """The configuration's number in the space."""
        return self.trials[-1].position

    @property
    def config(self) -> Config:
        """The configuration."""
        return self.trials[-1].config

    @property
    def settings(self) -> Mapping[str, Any]:
        """Settings of its replicas, as a dictionary of `serve_deployments.settings.Settings`."""
        return self.trials[-1].outcome.settings

    @property
    def emulated(self) -> bool:
        """Whether its devices were emulated."""
        return self.trials[-1].emulated

    @property
    def answers(self) -> AnswerAgreement | None:
        """How its answers agree with the reference's, over its trials; None where it was not asked."""
        return over_rounds([t.outcome.answers for t in self.trials if t.outcome.answers is not None])

    @property
    def client_limited(self) -> bool:
        """Whether the load generator was the bottleneck in a round, so that the rate is a lower bound."""
        return any(t.outcome.client_limited for t in self.trials)

    @property
    def alone(self) -> bool:
        """Whether it had a GPU to itself in a round, of which it pays for a part."""
        return any(t.outcome.alone for t in self.trials)

    @property
    def neighbours(self) -> int:
        """Number of copies of it that ran beside it on its GPU in every round, at least."""
        return min(t.outcome.neighbours for t in self.trials)

    @property
    def estimated(self) -> bool:
        """Whether the rate of a round did not reach the precision in its time, so that the mean is an estimate."""
        return any(not t.outcome.steady for t in self.trials)

    @property
    def reason(self) -> str | None:
        """Why it could not run in its last round; None if it did."""
        return self.trials[-1].outcome.reason

    @property
    def others_share(self) -> float | None:
        """Mean share of its cores that other processes used; None where that was not counted."""
        shares = [share for t in self.trials if (share := t.outcome.others_share) is not None]
        return fmean(shares) if shares else None


def result_of(comparison: Comparison, contestant: Contestant) -> ConfigurationResult:
    """Return the result of a contestant.

    Its means over the rounds; until the comparison is over its latest measurement that kept the limits, with the
    interval of that alone: a mean with one of the search, which was not side by side with it, would be nobody's figure.
    """
    kept = tuple(t for t in contestant.trials if t.value is not None)
    if comparison.preliminary:
        return result_of_search((kept or contestant.trials)[-1])
    trials = kept or contestant.trials
    if not contestant.counts:
        return ConfigurationResult(_means(trials), trials)
    metrics = dict(_means(trials))
    for name in metrics:
        if not is_share(name) and (mean := comparison.mean_of(name, contestant)) is not None:
            metrics[name] = mean.value
    rate = comparison.mean_of("rps", contestant)
    interval_rps = (rate.low, rate.high) if rate is not None and rate.bounded else None
    return ConfigurationResult(metrics, trials, interval_rps)


def result_of_search(trial: TrialRecord) -> ConfigurationResult:
    """Return the result of a configuration by one trial alone, as in the search."""
    return ConfigurationResult(trial.metrics, (trial,), trial.outcome.interval_rps)


def _means(trials: Sequence[TrialRecord]) -> Mapping[str, float]:
    """Return the mean of each metric that all of these trials have."""
    names = [name for name in trials[-1].metrics if all(name in t.metrics for t in trials)]
    return {name: mean_over_rounds(name, [t.metrics[name] for t in trials]) for name in names}
