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
        """Report that the search begins; `known` trials are finished already, `budget` is the number of all."""
        ...

    def started(self, number: int, purpose: Purpose, config: Config) -> None:
        """Report that a trial has begun."""
        ...

    def finished(self, trial: TrialRecord) -> None:
        """Report that a trial has ended."""
        ...


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
