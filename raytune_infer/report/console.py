"""A study as it runs, on a console."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.status import Status

from raytune_infer.report.figures import figures, spelled
from raytune_infer.store.records import Purpose, TrialRecord
from searchers.objective import Objective
from searchers.quantities import PRICE
from searchers.space import Config


class ConsoleProgress:
    """Prints a line for each trial, and shows what is running meanwhile.

    Args:
        console: where to.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._objective: Objective | None = None
        self._done, self._budget = 0, 0
        self._best = 0.0
        self._running: dict[int, str] = {}
        self._status: Status | None = None

    def note(self, text: str) -> None:
        """Something the user should know once."""
        self._console.print(f"[yellow]note[/] {escape(text)}")

    def begins(self, known: Sequence[TrialRecord], budget: int, objective: Objective) -> None:
        """Count from here."""
        self._done, self._budget, self._objective = len(known), budget, objective
        self._best = max((t.value or 0.0 for t in known), default=0.0)

    def started(self, number: int, purpose: Purpose, config: Config) -> None:
        """Show what is running, where the terminal can."""
        again = "" if purpose == "search" else "measured again: "
        self._running[number] = f"{again}{spelled(config)}"
        self._show()

    def finished(self, trial: TrialRecord) -> None:
        """Print the trial's line."""
        self._running.pop(trial.number, None)
        self._show()
        self._done += trial.purpose == "search"
        head = f"{self._done}/{self._budget}" if trial.purpose == "search" else "again"
        self._console.print(f"{head:>7}  {escape(spelled(trial.config))}", highlight=False)
        self._console.print(f"         {self._said(trial)}  [dim]({trial.seconds:.0f} s)[/]", highlight=False)

    def close(self) -> None:
        """Take the running display away."""
        if self._status is not None:
            self._status.stop()

    def _said(self, trial: TrialRecord) -> str:
        if trial.outcome.reason is not None:
            return f"[red]could not run[/]  {escape(trial.outcome.reason)}"
        mark = f"  [yellow]at the second attempt[/]: {escape(trial.outcome.lost)}" if trial.outcome.lost else ""
        assert self._objective is not None, "begins() comes first"
        measured = {**trial.metrics, PRICE: trial.usd_per_hour}
        if broken := self._objective.broken(measured):
            mark += "  [yellow]breaks " + ", ".join(f"{n} ({measured.get(n, math.nan):.4g})" for n in broken) + "[/]"
        elif trial.value is not None and trial.purpose == "search" and trial.value > self._best:
            self._best = trial.value
            mark += "  [green]best so far[/]"
        if trial.outcome.ended_early:
            mark += "  [dim]ended early: cannot beat the best so far[/]"
        return f"{figures(trial)}{mark}"

    def _show(self) -> None:
        if not self._console.is_terminal:
            return
        if self._status is None:
            self._status = self._console.status("")
            self._status.start()
        self._status.update(escape(" | ".join(self._running.values()) or "thinking …"))
