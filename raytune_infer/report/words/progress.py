"""Messages on a study's trials as they end: a view of each, with its numbers and notes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from raytune_infer.comparing.other_processes import disturbed
from raytune_infer.report.figures import cost_of, figures, legend, rate
from raytune_infer.report.view import Column, Note, Row, Table, View
from raytune_infer.report.words.answers import differ_briefly
from raytune_infer.report.words.metric_columns import metric_column, shown_metrics
from raytune_infer.report.words.trials import state
from raytune_infer.report.words.values import significant, spelled
from raytune_infer.store.records import TrialRecord
from searchers.objective import Metrics, Objective
from searchers.quantities import PRICE


class Telling:
    """Describes each finished trial; for this it counts the trials and keeps the best value so far.

    Args:
        known: trials that are finished already; those of the final comparison count neither here nor as the best.
        budget: number of trials in the whole search.
        objective: the study's objective.
    """

    def __init__(self, known: Sequence[TrialRecord], budget: int, objective: Objective) -> None:
        searched = [t for t in known if t.purpose == "search"]
        self._done, self._budget, self._objective = len(searched), budget, objective
        self._best = max((t.value or 0.0 for t in searched), default=0.0)
        self._explained: set[str] = set()
        self._shown = shown_metrics(objective, ("p50_ms", "p99_ms"))
        self._columns = (
            Column("trial", digits="d", key=True), Column("rate_rps", unit="requests/s", kind="quantity"),
            *(metric_column(name, digits=".3g") for name in self._shown),
            Column("usd_per_million_requests", unit="USD per million", kind="quantity", digits=".3g"),
            Column("seconds", "took", "s", digits=".0f"),
        )  # fmt: skip

    def finished(self, trial: TrialRecord) -> View:
        """Return the view of a trial that has just ended: its count, configuration, figures and remarks."""
        self._done += trial.purpose == "search"
        head = f"{self._done}/{self._budget}" if trial.purpose == "search" else "compare"
        metrics = trial.metrics
        row = Row(
            (
                trial.number, rate(trial), *map(metrics.get, self._shown), cost_of(trial), trial.seconds,
            )
        )  # fmt: skip
        table = Table("trial", self._columns, (row,))
        return View(head, spelled(trial.config), tables=(table,), notes=tuple(self._notes(trial)))

    def _notes(self, trial: TrialRecord) -> list[Note]:
        if trial.outcome.reason is not None:
            return [Note(state(trial) or "", "failure"), Note(trial.outcome.reason)]
        said = [Note(figures(trial, self._shown), "conclusion")]
        new = [note for note in legend([rate(trial), cost_of(trial)]) if note not in self._explained]
        self._explained.update(new)
        said += map(Note, new)
        if trial.outcome.lost:
            said.append(Note(f"at the second attempt: {trial.outcome.lost}", "warning"))
        measured = {**trial.metrics, PRICE: trial.usd_per_hour}
        if broken := self._objective.broken(measured):
            told = [f"{n} ({significant(measured.get(n, math.nan))}, {self._limit(n, measured)})" for n in broken]
            said.append(Note(f"breaks {', '.join(told)}", "warning"))
        elif trial.value is not None and trial.purpose == "search" and trial.value > self._best:
            self._best = trial.value
            said.append(Note("best so far", "success"))
        if differ := differ_briefly(trial.outcome.answers):
            said.append(Note(differ, "warning"))
        if trial.outcome.ended_early:
            said.append(Note("ended early: cannot beat the best so far"))
        if trial.outcome.repeated:
            said.append(Note("measured twice, as other processes had its cores"))
        if share := disturbed([trial]).get(trial.number):
            said.append(Note(f"other processes used {share:.0%} of its cores", "warning"))
        return said

    def _limit(self, name: str, measured: Metrics) -> str:
        """Return the limit that these metrics break by one of them, which may have an upper and a lower one."""
        at_most, at_least = self._objective.at_most, self._objective.at_least
        if name in at_least and not measured.get(name, math.nan) >= at_least[name]:
            return f"at least {at_least[name]:g}"
        return f"limit {at_most[name]:g}"
