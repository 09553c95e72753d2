"""Searches of the same tasks under several conditions: other sources, noise. Shared by the benchmarks that do so.

A search is judged by what it would recommend: after each trial the configuration of the largest value that it has
seen, looked up in the table of true values.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import pandas as pd
from results import RESULTS, ROOT

from raytune_infer.suites.replays import Plan, Unit, units
from raytune_infer.suites.suites import Suite, load_suite
from raytune_infer.suites.workers import WorkerDied, in_processes
from searchers.registry import NAMED, named
from searchers.replay import Step, Table, replay

Extra = TypeVar("Extra")
Part = TypeVar("Part")
COLUMNS = ("suite", "objective", "task", "searcher", "condition", "seed", "trial", "fraction")


class Condition(Protocol):
    """Under which a task is searched; data that can be sent to another process."""

    @property
    def name(self) -> str:
        """For tables."""
        ...

    def table(self, suite: Suite, task: str, objective: str, seed: int) -> Table:
        """What is searched, over the task's own space."""
        ...


def rows_of(plans: Sequence[Plan], conditions: Sequence[Condition], jobs: int) -> tuple[pd.DataFrame, list[str]]:
    """All searches of the plans under all conditions.

    Returns:
        A row a trial, in `COLUMNS`, and notes: a searcher that raises or is killed is left out with one, so that
        it does not take the hours of the others with it.

    Raises:
        SuiteError: a plan names a searcher or an objective that is not there.
        WorkerDied: no searcher was left.
    """
    parts: list[pd.DataFrame] = []
    notes: list[str] = []
    for plan in plans:
        suite = load_suite(plan.folder)
        plan = plan.checked(suite)
        for searcher in plan.searchers:
            print(f"{suite.name}: {searcher}", flush=True)
            work = [(Unit(searcher, tasks), each) for tasks in suite.together() for each in conditions]
            try:
                with closing(in_processes(_work, plan, work, jobs)) as ready:
                    parts += list(ready)
            except WorkerDied as error:
                print(error, flush=True)
                notes.append(f"{searcher} is left out of {suite.name}: {str(error).strip().splitlines()[-1]}")
    if not parts:
        raise WorkerDied(f"no search was done; {'; '.join(notes) or 'no configuration counts anywhere'}")
    rows = pd.concat(parts, ignore_index=True)
    # Results come as processes finish; tables and files must not depend on that.
    order = ["suite", "searcher", "condition", "objective", "task", "seed", "trial"]
    return rows.sort_values(order, kind="stable", ignore_index=True), notes


def parts_of(
    work: Callable[[tuple[Plan, Extra], Iterator[Unit]], Iterator[Part]], plans: Sequence[Plan], extra: Extra, jobs: int
) -> Iterator[Part]:
    """What a function of a module makes of all units of the plans, in several processes of one thread each.

    Args:
        work: a plan with what else it needs, and units → a part each, or several.
        plans: a suite each.
        extra: what else it needs.
        jobs: processes at a time.
    """
    for plan in plans:
        suite = load_suite(plan.folder)
        plan = plan.checked(suite)
        with closing(in_processes(work, (plan, extra), units(plan, suite), jobs)) as ready:
            yield from ready


def _work(plan: Plan, given: Iterator[tuple[Unit, Condition]]) -> Iterator[pd.DataFrame]:
    """What a process does."""
    import torch

    torch.set_num_threads(1)
    suite = load_suite(plan.folder)
    for unit, condition in given:
        yield from searches(suite, plan, unit, condition)


def searches(suite: Suite, plan: Plan, unit: Unit, condition: Condition) -> Iterator[pd.DataFrame]:
    """A unit's searches under a condition, each as its rows; tasks where no configuration counts are left out."""
    for objective in plan.objectives:
        for task in unit.tasks:
            truth = suite.table(task, objective).values()
            for seed in range(plan.seeds if truth.any() else 0):
                table = condition.table(suite, task, objective, seed)
                steps = list(replay(table, named(unit.searcher)(table.problem), budget=plan.budget, seed=seed))
                labels = (suite.name, objective, task, unit.searcher, condition.name, seed)
                fractions = recommended(steps, truth)
                yield pd.DataFrame(
                    [(*labels, trial, fraction) for trial, fraction in enumerate(fractions, start=1)], columns=COLUMNS
                )


def recommended(steps: Sequence[Step], truth: np.ndarray) -> list[float]:
    """After each trial the true value of the configuration that looks best, as a fraction of the best there is.

    Args:
        steps: of one search, with the values that it saw.
        truth: `[n]` true value of each configuration; 0 where it does not count.
    """
    fractions, best, position = [], 0.0, None
    for step in steps:
        if step.value is not None and step.value > best:
            best, position = step.value, step.position
        fractions.append(0.0 if position is None else float(truth[position] / truth.max()))
    return fractions


def parser_of(text: str, judged: str | None) -> argparse.ArgumentParser:
    """The arguments that these benchmarks have in common.

    Args:
        text: what the benchmark is.
        judged: whom it judges by default; None if that is no choice.
    """
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="+", type=Path, metavar="SUITE_DIR", help="folders of tables")
    if judged is not None:
        whom = f"by default {judged}"
        parser.add_argument("--searchers", nargs="+", choices=sorted(NAMED), metavar="NAME", help=whom)
    parser.add_argument("--objectives", nargs="+", default=[], metavar="NAME", help="by default all of a suite's")
    parser.add_argument("--budget", type=int, default=40, help="trials of a search at most")
    parser.add_argument("--seeds", type=int, default=3, help="searches per task, objective, searcher and condition")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes; by default one a core")
    parser.add_argument("--out", type=Path, default=RESULTS, help="Markdown file whose section is replaced")
    return parser


def plans_of(asked: argparse.Namespace, searchers: Sequence[str]) -> list[Plan]:
    """What is asked for: a plan a suite."""
    objectives = tuple(asked.objectives)
    return [Plan(folder, tuple(searchers), objectives, asked.budget, asked.seeds) for folder in asked.suites]


def settings(asked: argparse.Namespace, rows: pd.DataFrame) -> str:
    """For headings: suites, objectives, budget and seeds."""
    objectives = f", {', '.join(asked.objectives)}" if asked.objectives else ""
    suites = ", ".join(dict.fromkeys(rows["suite"]))
    return f"{suites}{objectives} (at most {asked.budget} trials, seeds: {asked.seeds})"


def keep(rows: pd.DataFrame, benchmark: str) -> Path:
    """Every trial, in a file that git ignores."""
    path = ROOT / "runs" / benchmark / "results.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows.to_csv(path, index=False)
    return path
