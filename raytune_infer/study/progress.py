"""What a study tells while it runs: the seam between the work and whoever watches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from raytune_infer.store.records import Purpose, TrialRecord
from searchers.objective import Objective
from searchers.space import Config


class Progress(Protocol):
    """Watches a study."""

    def note(self, text: str) -> None:
        """Something the user should know once."""
        ...

    def begins(self, known: Sequence[TrialRecord], budget: int, objective: Objective) -> None:
        """The search begins: these of its trials are done already, so many are to be done in all."""
        ...

    def started(self, number: int, purpose: Purpose, config: Config) -> None:
        """A trial has begun."""
        ...

    def finished(self, trial: TrialRecord) -> None:
        """A trial has ended."""
        ...


class Silent:
    """Watches nothing."""

    def note(self, text: str) -> None:
        """Ignored."""

    def begins(self, known: Sequence[TrialRecord], budget: int, objective: Objective) -> None:
        """Ignored."""

    def started(self, number: int, purpose: Purpose, config: Config) -> None:
        """Ignored."""

    def finished(self, trial: TrialRecord) -> None:
        """Ignored."""
