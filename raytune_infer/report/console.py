"""Progress of a running study on a console."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.status import Status
from rich.text import Text

from raytune_infer.report.renderers.console_table import plain
from raytune_infer.report.renderers.console_view import STYLES
from raytune_infer.report.view import Note, View
from raytune_infer.report.words.progress import Telling
from raytune_infer.report.words.values import spelled
from raytune_infer.store.records import Purpose, TrialRecord
from searchers.objective import Objective
from searchers.space import Config


class ConsoleProgress:
    """Prints a line for each finished trial and shows the running ones.

    Args:
        console: the console to print to.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._telling: Telling | None = None
        self._running: dict[int, str] = {}
        self._status: Status | None = None

    def note(self, text: str) -> None:
        """Print a note for the user."""
        self._console.print(Text.assemble(("note", STYLES["warning"]), " " + plain(text)))

    def begins(self, known: Sequence[TrialRecord], budget: int, objective: Objective) -> None:
        """Start counting trials; `known` ones are finished already."""
        self._telling = Telling(known, budget, objective)

    def started(self, number: int, purpose: Purpose, config: Config) -> None:
        """Show a trial as running, if the console is a terminal."""
        again = "" if purpose == "search" else "measured again: "
        self._running[number] = plain(f"{again}{spelled(config)}")
        self._show()

    def finished(self, trial: TrialRecord) -> None:
        """Print the line of a finished trial."""
        self._running.pop(trial.number, None)
        self._show()
        assert self._telling is not None, "begins() comes first"
        self._print(self._telling.finished(trial), trial.seconds)

    def chance_of_more(self, chance: float) -> None:
        """Not printed: a line each trial is enough."""

    def close(self) -> None:
        """Remove the display of running trials."""
        if self._status is not None:
            self._status.stop()

    def _print(self, view: View, seconds: float) -> None:
        """Print a view on two lines: the trial, and the notes on it."""
        said = Text("  ").join([*map(_styled, view.notes), Text(f"({seconds:.0f} s)", style="dim")])
        self._console.print(Text(f"{view.title:>7}  {plain(view.subtitle)}"), highlight=False)
        self._console.print(Text(" " * 9).append_text(said), highlight=False)

    def _show(self) -> None:
        if not self._console.is_terminal:
            return
        if self._status is None:
            self._status = self._console.status("")
            self._status.start()
        self._status.update(Text(" | ".join(self._running.values()) or "thinking …"))


def _styled(note: Note) -> Text:
    # Here each trial has one line of notes: the conclusion needs no emphasis, and a remark less than usual.
    styles = {**STYLES, "conclusion": "", "remark": "dim"}
    return Text(plain(note.text), style=styles[note.kind])
