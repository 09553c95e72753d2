"""Interface through which a running study reports its progress."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from raytune_infer.store.records import Purpose, TrialRecord
from searchers.objective import Objective
from searchers.space import Config


class Progress(Protocol):
    """An observer of a study."""

    def note(self, text: str) -> None:
        """Report something that the user should know."""
        ...

    def begins(self, known: Sequence[TrialRecord], budget: int, objective: Objective) -> None:
        """Report that a study begins or goes on.

        Args:
            known: trials that are finished already, those of the final comparison included.
            budget: number of trials of the whole search.
            objective: the study's objective.
        """
        ...

    def started(self, number: int, purpose: Purpose, config: Config) -> None:
        """Report that a trial has begun."""
        ...

    def finished(self, trial: TrialRecord) -> None:
        """Report that a trial has ended."""
        ...

    def chance_of_more(self, chance: float) -> None:
        """Report the probability, by the searcher's model, that a noticeably better configuration is left."""
        ...


class Together:
    """Several observers of one study, each told of everything.

    Args:
        observers: the observers, in the order in which they are told.
    """

    def __init__(self, *observers: Progress) -> None:
        self._observers = observers

    def note(self, text: str) -> None:
        """See `Progress.note`."""
        for observer in self._observers:
            observer.note(text)

    def begins(self, known: Sequence[TrialRecord], budget: int, objective: Objective) -> None:
        """See `Progress.begins`."""
        for observer in self._observers:
            observer.begins(known, budget, objective)

    def started(self, number: int, purpose: Purpose, config: Config) -> None:
        """See `Progress.started`."""
        for observer in self._observers:
            observer.started(number, purpose, config)

    def finished(self, trial: TrialRecord) -> None:
        """See `Progress.finished`."""
        for observer in self._observers:
            observer.finished(trial)

    def chance_of_more(self, chance: float) -> None:
        """See `Progress.chance_of_more`."""
        for observer in self._observers:
            observer.chance_of_more(chance)


class Silent:
    """A progress observer that ignores everything."""

    def note(self, text: str) -> None:
        """Ignored."""

    def begins(self, known: Sequence[TrialRecord], budget: int, objective: Objective) -> None:
        """Ignored."""

    def started(self, number: int, purpose: Purpose, config: Config) -> None:
        """Ignored."""

    def finished(self, trial: TrialRecord) -> None:
        """Ignored."""

    def chance_of_more(self, chance: float) -> None:
        """Ignored."""
