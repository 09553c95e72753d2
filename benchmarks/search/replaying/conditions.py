"""Replays searches of the same tasks under several conditions, such as other sources or noise.

A search is judged by what it would recommend after each trial: the configuration with the largest value seen so far,
looked up in the table of true values.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.recording.origin import ROOT
from benchmarks.search.replaying.processes import parts_of
from raytune_infer.suites.replays import Plan, Unit
from raytune_infer.suites.suites import Suite
from raytune_infer.suites.workers import WorkerDied
from searchers.registry import SearcherFactory, named
from searchers.replay import MeasuredTable, Step, replay

COLUMNS = ("suite", "objective", "group", "task", "searcher", "condition", "seed", "trial", "fraction")


class Condition(ABC):
    """A condition under which a task is searched; it can be pickled for another process."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The condition's name in tables."""

    def table(self, suite: Suite, task: str, objective: str, seed: int) -> MeasuredTable:
        """The table that is searched under this condition, over the task's own space; by default the suite's."""
        return suite.table(task, objective)

    def make(self, searcher: str) -> SearcherFactory:
        """What makes the searcher of a name under this condition; by default the one that is registered."""
        return named(searcher)


def rows_of(plans: Sequence[Plan], conditions: Sequence[Condition], jobs: int) -> tuple[pd.DataFrame, list[str]]:
    """Runs all searches of the plans under all conditions.

    Returns:
        The trials, one row each, in `COLUMNS`, and notes. A searcher that raises or is killed is left out with a note,
        so that the hours of the others are not lost.

    Raises:
        SuiteError: a plan names a searcher or an objective that does not exist.
        WorkerDied: no search was done.
    """
    parts: list[pd.DataFrame] = []
    notes: list[str] = []
    for plan in plans:
        suite = plan.load(plan.folder)
        plan = plan.checked(suite)
        for searcher in plan.searchers:
            print(f"{suite.name}: {searcher}", flush=True)
            work = [(Unit(searcher, tasks), each) for tasks in suite.together() for each in conditions]
            try:
                with closing(parts_of(_searches, plan, None, work, jobs)) as ready:
                    parts += list(ready)
            except WorkerDied as error:
                print(error, flush=True)
                notes.append(f"{searcher} is left out of {suite.name}: {str(error).strip().splitlines()[-1]}")
    if not parts:
        raise WorkerDied(f"no search was done; {'; '.join(notes) or 'no task has a configuration that counts'}")
    rows = pd.concat(parts, ignore_index=True)
    # Results come as processes finish; tables and files must not depend on that.
    order = ["suite", "searcher", "condition", "objective", "task", "seed", "trial"]
    return rows.sort_values(order, kind="stable", ignore_index=True), notes


def _searches(suite: Suite, plan: Plan, given: tuple[Unit, Condition], extra: None) -> Iterator[pd.DataFrame]:
    yield from searches(suite, plan, *given)


def searches(suite: Suite, plan: Plan, unit: Unit, condition: Condition) -> Iterator[pd.DataFrame]:
    """The rows of each search of a unit under a condition; tasks where no configuration counts are left out."""
    for objective in plan.objectives:
        for task in unit.tasks:
            truth = suite.table(task, objective).values()
            for seed in range(plan.seeds if truth.any() else 0):
                table = condition.table(suite, task, objective, seed)
                steps = list(replay(table, condition.make(unit.searcher)(table.problem), budget=plan.budget, seed=seed))
                labels = (suite.name, objective, suite.tasks[task].group, task, unit.searcher, condition.name, seed)
                fractions = recommended(steps, truth)
                yield pd.DataFrame(
                    [(*labels, trial, fraction) for trial, fraction in enumerate(fractions, start=1)], columns=COLUMNS
                )


def recommended(steps: Sequence[Step], truth: np.ndarray) -> list[float]:
    """After each trial the true value of the configuration that looks best, as a fraction of the best true value.

    Args:
        steps: the trials of one search, with the values that it saw.
        truth: `[n]` true value of each configuration; 0 where it does not count.
    """
    fractions, best, position = [], 0.0, None
    for step in steps:
        if step.value is not None and step.value > best:
            best, position = step.value, step.position
        fractions.append(0.0 if position is None else float(truth[position] / truth.max()))
    return fractions


def keep(rows: pd.DataFrame, benchmark: str) -> Path:
    """Writes every trial to a file that git ignores; returns its path."""
    path = ROOT / "runs" / benchmark / "results.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows.to_csv(path, index=False)
    return path
