"""What is known of a study and its trials, wherever it is kept."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from searchers.base import History, Observation
from searchers.space import Config
from serve_deployments.metrics.level_result import LevelResult

Purpose = Literal["search", "final"]


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    Args:
        metrics: what was measured; None if the configuration could not run.
        reason: why it could not; None if it did.
        levels: every level of load that was held.
        reported: index in `levels` of the level that `metrics` are of; `rps` may be an estimate from all levels.
        interval_rps: 95 % interval of the rate, in requests per second; None where it is not known.
        ended: why the load test ended where it did.
        client_limited: the load side was the bottleneck, so the rate is a lower bound.
        enforcements: what became of each limit, as dictionaries.
        hostname: the machine of the replica.
        settings: what the replica ran under, as a dictionary of `serve_deployments.settings.Settings`.
        in_place: the replica was there before and was changed; None where that is not known.
        ended_early: its load test stopped once it could no longer win; None where that is not known.
        overhead: what the trial did apart from measuring → seconds; empty where that is not known.
        lost: why an earlier attempt at the trial came to nothing; None where there was none.
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

    @property
    def overhead_s(self) -> float:
        """Seconds of the trial that were no measurement, as far as they are known."""
        return sum(self.overhead.values())

    @property
    def steady(self) -> bool:
        """Whether the reported level had become steady."""
        return self.reported is None or self.levels[self.reported].steady


@dataclass(frozen=True)
class TrialRecord:
    """One finished trial.

    Args:
        number: 1, 2, … in the order of their starts.
        purpose: "search", or "final" for the comparison at the end.
        position: the configuration's number in the space.
        config: the configuration.
        usd_per_hour: its price; NaN where unknown.
        value: the objective's value (larger is better); None if it does not count.
        outcome: how it ended.
        seconds: how long it took, deployment included.
        emulated: the devices were emulated.
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

    @property
    def metrics(self) -> Mapping[str, float]:
        """What was measured; empty if it could not run."""
        return self.outcome.metrics or {}


@dataclass(frozen=True)
class StudyRecord:
    """What is known of a study apart from its trials."""

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


def observations(trials: Sequence[TrialRecord]) -> History:
    """What a searcher may know of these trials: those of the search, not of the final comparison."""
    searched = [t for t in trials if t.purpose == "search"]
    return History(tuple(Observation(t.position, t.outcome.metrics) for t in searched))
