"""Which searchers draw random numbers that matter: those for which another seed is another search."""

from __future__ import annotations

from raytune_infer.suites.replays import Plan
from raytune_infer.suites.suites import Suite
from searchers.registry import SearcherFactory
from searchers.replay import MeasuredTable, replay

TASKS, TRIALS = 2, 5
"""Tasks and first trials that are compared. Our choice: whoever starts at random differs in the first of them."""


def first_trials(table: MeasuredTable, make: SearcherFactory, seed: int = 0, trials: int = TRIALS) -> list[int]:
    """The positions that a new searcher tries first."""
    return [step.position for step in replay(table, make(table.problem), budget=trials, seed=seed)]


def seeds_of(plan: Plan, searcher: str, suite: Suite) -> int:
    """How many seeds of the plan a searcher is searched with: all, or one if another seed is the same search.

    This is tried on a few tasks rather than listed by name: a list can be wrong, and many a searcher starts at random
    only where it has nothing to learn from.

    Args:
        plan: the searches, already checked.
        searcher: name of the searcher.
        suite: the plan's suite.
    """
    make = plan.factory(searcher)
    for objective in plan.objectives:
        for task in suite.judged[:TASKS]:
            table = suite.table(task, objective, sources=plan.sources)
            if plan.seeds > 1 and first_trials(table, make, 0) != first_trials(table, make, 1):
                return plan.seeds
    return 1
