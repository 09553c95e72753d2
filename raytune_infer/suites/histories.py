"""Sources as users have them: what a study of a service tried, instead of a table of every configuration."""

from __future__ import annotations

from typing import Literal

from searchers.registry import named
from searchers.replay import MeasuredTable, replay

Sources = Literal["tables", "histories", "none"]
"""What a search may learn from other tasks: all of their rows, what a study of each tried, or nothing."""

TRIALS = 30
"""Trials of the study of each source. Our choice: a little less than the default budget of a study."""
SEARCHED_BY = ("random", "optuna-tpe")
"""Searchers of these studies, in turn. Our choice: half of them have no preference, and half look for the best by a
searcher that is not ours and learns from nobody, so that no source changes when a searcher of ours does."""


def tried(table: MeasuredTable, place: int) -> list[int]:
    """The positions that the study of a source tried, in order.

    Args:
        table: the source's table under the objective of the study, with a problem that has no sources.
        place: its number among the suite's sources, which says who searched it.

    Raises:
        ValueError: the library that the searcher needs is not installed.
    """
    searcher = named(SEARCHED_BY[place % len(SEARCHED_BY)])(table.problem)
    return [step.position for step in replay(table, searcher, budget=TRIALS, seed=0)]
