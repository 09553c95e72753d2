"""A study's progress, shown by gauges of Ray: from the same events as the lines on the console and the database."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from cluster.prices import usd_per_million
from raytune_infer.store.records import Purpose, TrialRecord, best_searched
from raytune_infer.study.monitoring.study_series import (
    BEST_COST_USD,
    BEST_FIGURE,
    BEST_RATE_RPS,
    BUDGET,
    CHANCE_OF_MORE,
    RUNNING,
    SPENT_USD,
    STATES,
    STUDY_SERIES,
    TRIALS,
    state_of,
)
from searchers.objective import Objective
from searchers.space import Config
from serve_deployments.metrics.shown.gauges import Gauges

_HOUR_S = 3600.0


@contextmanager
def study_gauges(labels: Mapping[str, str]) -> Iterator[StudyGauges]:
    """Yield an observer that shows a study with these labels by gauges of Ray, until the context ends."""
    with Gauges(STUDY_SERIES, labels) as gauges:
        yield StudyGauges(gauges)


class StudyGauges:
    """An observer of a study (`study.progress.Progress`) that shows how far it has come and what it has found.

    Args:
        gauges: what shows the figures.
    """

    def __init__(self, gauges: Gauges) -> None:
        self._gauges = gauges
        self._finished: list[TrialRecord] = []
        self._running: set[int] = set()
        self._objective: Objective | None = None

    def note(self, text: str) -> None:
        """Ignored: a note is no number."""

    def begins(self, known: Sequence[TrialRecord], budget: int, objective: Objective) -> None:
        """Show the budget, and what is known from before the study was interrupted."""
        self._gauges.set(BUDGET, budget)
        self._finished, self._objective = list(known), objective
        self._show()

    def started(self, number: int, purpose: Purpose, config: Config) -> None:
        """Show one more trial that is running."""
        self._running.add(number)
        self._show()

    def finished(self, trial: TrialRecord) -> None:
        """Show a trial's end, and the best so far."""
        self._running.discard(trial.number)
        self._finished.append(trial)
        self._show()

    def chance_of_more(self, chance: float) -> None:
        """Show the probability that there is more to gain."""
        self._gauges.set(CHANCE_OF_MORE, chance)

    def _show(self) -> None:
        states = [state_of(trial) for trial in self._finished]
        for state in STATES:
            count = len(self._running) if state == RUNNING else states.count(state)
            self._gauges.set(TRIALS, count, state=state)
        spent_usd = sum(t.seconds / _HOUR_S * t.usd_per_hour for t in self._finished if math.isfinite(t.usd_per_hour))
        self._gauges.set(SPENT_USD, spent_usd)
        self._show_best()

    def _show_best(self) -> None:
        """Show the best trial of the search: rounds of the comparison are means, which the result gives."""
        if (best := best_searched(self._finished)) is None or self._objective is None:
            return
        rate_rps = best.metrics.get("rps", math.nan)
        self._gauges.set(BEST_FIGURE, self._objective.figure(best.metrics, best.usd_per_hour))
        self._gauges.set(BEST_RATE_RPS, rate_rps)
        self._gauges.set(BEST_COST_USD, usd_per_million(best.usd_per_hour, rate_rps) if rate_rps > 0 else math.nan)
