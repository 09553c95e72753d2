"""Records of a study and its trials, independent of how they are stored."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from searchers.base import History, Observation
from searchers.space import Config
from serve_deployments.metrics.answers.agreement import AnswerAgreement
from serve_deployments.metrics.level_result import LevelResult, check_around, others_share
from serve_deployments.settings import gpu_part

Purpose = Literal["search", "final"]
Priced = Literal["as recorded", "anew", "unknown"]
"""Where a trial's price is from: its record, or today's rule in place of a former one; or it cannot be known."""

ANSWERS_DIFFER = "AnswersDiffer"
"""First word of the reason of a trial that broke a limit on its answers."""

NEIGHBOURS = "neighbours"
"""Name under which `Outcome.enforcements` tell how many copies ran beside a replica that pays for a part of its GPU."""

REPEATED = "repeated"
"""Activity in a trial's overhead: a measurement on more disturbed cores than the one that is believed."""


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    Args:
        metrics: the measured metrics; None if the configuration could not run.
        reason: why it could not run; None if it did.
        levels: every load level of the load test.
        reported: index in `levels` of the level that `metrics` belong to; `rps` may be an estimate from all levels.
        interval_rps: 95 % interval of the rate, in requests per second; None where unknown.
        ended: why the load test ended where it did.
        client_limited: whether the load generator was the bottleneck, so that the rate is a lower bound.
        enforcements: whether and how each limit was enforced, as dictionaries of `Enforcement`.
        hostname: the machine of the replica.
        settings: settings of the replica, as a dictionary of `serve_deployments.settings.Settings`.
        in_place: whether a running replica was changed in place of starting a new one; None where unknown.
        ended_early: whether the load test stopped because the trial could no longer win; None where unknown.
        overhead: activity other than measuring → its seconds; empty where unknown.
        lost: why an earlier attempt at the trial was lost; None if there was none.
        answers: how its answers agree with the default's; None where they were not compared.

    Raises:
        ValueError: the rate lies outside its interval.
    """

    metrics: Mapping[str, float] | None
    reason: str | None = None
    levels: Sequence[LevelResult] = ()
    reported: int | None = None
    interval_rps: tuple[float, float] | None = None
    ended: str | None = None
    client_limited: bool = False
    enforcements: Sequence[Mapping[str, Any]] = ()
    hostname: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    in_place: bool | None = None
    ended_early: bool | None = None
    overhead: Mapping[str, float] = field(default_factory=dict)
    lost: str | None = None
    answers: AnswerAgreement | None = None

    def __post_init__(self) -> None:
        if (rate_rps := (self.metrics or {}).get("rps")) is not None:
            check_around(rate_rps, self.interval_rps)

    @property
    def overhead_s(self) -> float:
        """Seconds of the trial that were not spent on measuring, as far as they are known."""
        return sum(self.overhead.values())

    @property
    def alone(self) -> bool:
        """Whether it had a GPU to itself of which it pays for a part: beside others that have the rest it is slower."""
        told = [each for each in self.enforcements if each["limit"] == NEIGHBOURS]
        if told:
            return bool(told[-1].get("given") == "0")
        share, memory = (float(self.settings.get(name) or 0.0) for name in ("gpu_share", "gpu_memory"))
        return bool(self.settings.get("gpu_type")) and gpu_part(share, memory) <= 0.5

    @property
    def neighbours(self) -> int:
        """Number of copies of it that ran beside it on its GPU."""
        told = [each for each in self.enforcements if each["limit"] == NEIGHBOURS]
        return int(told[-1].get("given") or 0) if told else 0

    @property
    def repeated(self) -> bool:
        """Whether it was measured twice, as other processes had its cores the first time."""
        return REPEATED in self.overhead

    @property
    def others_share(self) -> float | None:
        """Share of the replica's core time that other processes used, 0 to 1; None where that was not counted."""
        return others_share(self.levels)

    @property
    def answered_too_differently(self) -> bool:
        """Whether it broke a limit on its answers, so that it was not loaded."""
        return (self.reason or "").startswith(f"{ANSWERS_DIFFER}: ")

    @property
    def steady(self) -> bool:
        """Whether the reported level reached a steady state; True if there is none."""
        return self.reported is None or self.levels[self.reported].steady


@dataclass(frozen=True)
class TrialRecord:
    """One finished trial.

    Args:
        number: number within the study: 1, 2, … in the order of the starts.
        purpose: "search", or "final" for the final comparison.
        position: the configuration's number in the space.
        config: the configuration.
        usd_per_hour: its price; NaN where unknown.
        value: the objective's value (larger is better); None if it does not count.
        outcome: how it ended.
        seconds: its duration, deployment included.
        emulated: whether the devices were emulated.
        priced: where its price is from.
    """

    number: int
    purpose: Purpose
    position: int
    config: Config
    usd_per_hour: float
    value: float | None
    outcome: Outcome
    seconds: float
    emulated: bool
    priced: Priced = "as recorded"

    @property
    def metrics(self) -> Mapping[str, float]:
        """The measured metrics; only those of its answers, or none, if the configuration was not loaded."""
        answers = self.outcome.answers
        return {**({} if answers is None else answers.figures), **(self.outcome.metrics or {})}


@dataclass(frozen=True)
class StudyRecord:
    """A study without its trials."""

    id: int
    name: str
    spec: str
    folder: str
    searcher: str
    seed: int
    trials: int
    fingerprint: Mapping[str, Any]
    emulated: str | None
    created_at: dt.datetime = field(compare=False)


def best_searched(trials: Sequence[TrialRecord]) -> TrialRecord | None:
    """Return the best trial of the search that counts; None if there is none. Rounds of the comparison are means."""
    counted = [t for t in trials if t.purpose == "search" and t.value is not None]
    return max(counted, key=lambda t: t.value or 0.0, default=None)


def observations(trials: Sequence[TrialRecord]) -> History:
    """Return the history for a searcher: the trials of the search, not those of the final comparison."""
    searched = [t for t in trials if t.purpose == "search"]
    return History(tuple(Observation(t.position, t.outcome.metrics) for t in searched))
