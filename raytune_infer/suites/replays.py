"""Judging searchers: many searches replayed on a suite of measured tables, in several processes.

The unit of work is a searcher and the tasks that learn from the same sources, so that what a searcher learns
from them is learned once. A search is the same in whichever process it runs: each has one thread.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import pandas as pd

from raytune_infer.errors import SuiteError
from raytune_infer.store.prior import read_prior
from raytune_infer.suites.suites import Suite, load_suite
from raytune_infer.suites.workers import WorkerDied, in_processes
from searchers.registry import DEFAULT, TAKES_SURFACES, Factory, named
from searchers.replay import MeasuredTable, Step, replay

COLUMNS = (
    "suite", "objective", "task", "searcher", "seed", "trial", "config", "feasible", "value", "best", "fraction",
    "suggest_s",
)  # fmt: skip
"""Of the file of results, a row a trial."""


@dataclass(frozen=True)
class Plan:
    """What is to be replayed.

    Args:
        folder: of the suite.
        searchers: names of `searchers.registry`.
        objectives: names of the suite's objectives; all of them when empty.
        budget: trials of a search at most.
        seeds: searches for each task, objective and searcher; their seeds are 0, 1, …
        parallel: trials that run at a time.
        with_sources: whether searchers may learn from the suite's other tasks.
        prior: a file that those searchers start from who can; what ships when left out.

    Raises:
        ValueError: no searcher, or a number below 1.
    """

    folder: Path
    searchers: tuple[str, ...] = (DEFAULT,)
    objectives: tuple[str, ...] = ()
    budget: int = 40
    seeds: int = 3
    parallel: int = 1
    with_sources: bool = True
    prior: Path | None = None

    def __post_init__(self) -> None:
        if not self.searchers or min(self.budget, self.seeds, self.parallel) < 1:
            raise ValueError(f"searchers, budget, seeds and parallel are 1 or more, got {self}")

    def checked(self, suite: Suite) -> Plan:
        """This plan with all its objectives named, and repeated names once.

        Raises:
            SuiteError: there is no such searcher, or the suite has no such objective.
            UserError: the prior is none, or none of the searchers takes one.
        """
        for name in self.searchers:
            try:
                named(name)
            except ValueError as error:
                raise SuiteError(str(error)) from None
        for name in self.objectives:
            if name not in suite.objectives:
                raise SuiteError(f"{suite.name} has no objective {name!r}; there are {', '.join(suite.objectives)}")
        if self.prior is not None:
            read_prior(self.prior, *self.searchers)
        objectives = self.objectives or tuple(suite.objectives)
        unique = tuple(dict.fromkeys(self.searchers)), tuple(dict.fromkeys(objectives))
        return replace(self, searchers=unique[0], objectives=unique[1])

    def factory(self, searcher: str) -> Factory:
        """A searcher of the plan's, still to be given its problem."""
        if self.prior is None or searcher not in TAKES_SURFACES:
            return named(searcher)
        return named(searcher, read_prior(self.prior).surfaces)


@dataclass(frozen=True)
class Unit:
    """Searches that belong together: one searcher on tasks that learn from the same sources."""

    searcher: str
    tasks: tuple[str, ...]


@dataclass(frozen=True)
class Search:
    """One search that was replayed.

    Args:
        objective: its name in the suite.
        task: what was searched.
        searcher: its name.
        seed: of its random choices.
        best: the table's best value.
        steps: its trials.
    """

    objective: str
    task: str
    searcher: str
    seed: int
    best: float
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Results:
    """The searches that were done, in the order of objectives, tasks, searchers and seeds.

    Args:
        plan: what was asked for.
        suite: what was searched.
        searches: all of them, or those that were done before something stopped the work.
        stopped: what ended the work early; None if it is complete.
        hopeless: (objective, task) where no configuration counts, so that there was nothing to find.
    """

    plan: Plan
    suite: Suite
    searches: tuple[Search, ...]
    stopped: KeyboardInterrupt | WorkerDied | None
    hopeless: tuple[tuple[str, str], ...]

    def of(self, searcher: str, objective: str | None = None) -> list[Search]:
        """A searcher's searches, under one objective or all."""
        return [s for s in self.searches if s.searcher == searcher and objective in (None, s.objective)]

    def notes(self) -> list[str]:
        """What the figures do not say."""
        notes = []
        if self.stopped is not None:
            notes.append(f"stopped, only the searches that were done count {self.stopped}".strip())
        if self.hopeless:
            tasks = ", ".join(f"{task} ({objective})" for objective, task in self.hopeless)
            notes.append(f"left out, as no configuration counts there: {tasks}")
        return notes

    def frame(self) -> pd.DataFrame:
        """A row a trial, in `COLUMNS`; value and best are empty while nothing counts."""
        rows = [
            (
                self.suite.name, search.objective, search.task, search.searcher, search.seed, trial,
                json.dumps(self.suite.tasks[search.task].space[step.position]), step.feasible, step.value, step.best,
                (step.best or 0.0) / search.best, step.suggest_s,
            )
            for search in self.searches
            for trial, step in enumerate(search.steps, start=1)
        ]  # fmt: skip
        return pd.DataFrame(rows, columns=list(COLUMNS))


Watch = Callable[[int, int], None]
"""Told how many searches are done, and of how many."""


def run(plan: Plan, suite: Suite, *, jobs: int = 1, watch: Watch = lambda done, of: None) -> Results:
    """Replay all searches of a plan.

    Args:
        plan: what is asked for.
        suite: what is in its folder.
        jobs: processes at a time.
        watch: told of each search that is done.

    Returns:
        The results; those that were done after Ctrl-C or when a process died.

    Raises:
        SuiteError: there is no such searcher, or the suite has no such objective.
    """
    plan = plan.checked(suite)
    hopeless = tuple((o, t) for o in plan.objectives for t in suite.judged if not suite.table(t, o).values().any())
    order = {
        (objective, task, searcher, seed): None
        for objective in plan.objectives
        for task in suite.judged
        if (objective, task) not in hopeless
        for searcher in plan.searchers
        for seed in range(plan.seeds)
    }
    done: dict[tuple[str, str, str, int], Search] = {}
    stopped: KeyboardInterrupt | WorkerDied | None = None
    watch(0, len(order))
    try:
        with closing(in_processes(_searches, plan, units(plan, suite), jobs)) as ready:
            for search in ready:
                done[search.objective, search.task, search.searcher, search.seed] = search
                watch(len(done), len(order))
    except (KeyboardInterrupt, WorkerDied) as reason:
        stopped = reason
    return Results(plan, suite, tuple(done[key] for key in order if key in done), stopped, hopeless)


def units(plan: Plan, suite: Suite) -> list[Unit]:
    """All that a plan asks for, a searcher after another."""
    together = suite.together(with_sources=plan.with_sources)
    return [Unit(name, tasks) for name in plan.searchers for tasks in together]


def _searches(plan: Plan, given: Iterator[Unit]) -> Iterator[Search]:
    """The searches of these units, one after another: what a process does."""
    import torch

    torch.set_num_threads(1)
    suite = load_suite(plan.folder)
    for unit in given:
        yield from searches(suite, plan, unit)


def searches(suite: Suite, plan: Plan, unit: Unit) -> Iterator[Search]:
    """The searches of one unit under the plan's objectives, in this process."""
    make = plan.factory(unit.searcher)
    for objective in plan.objectives:
        for task in unit.tasks:
            table = suite.table(task, objective, with_sources=plan.with_sources)
            best = float(table.values().max())
            if best > 0:
                for seed in range(plan.seeds):
                    yield Search(objective, task, unit.searcher, seed, best, _steps(table, plan, make, seed))


def _steps(table: MeasuredTable, plan: Plan, make: Factory, seed: int) -> tuple[Step, ...]:
    """One search; the time to make its searcher counts as time to think of its first suggestion."""
    start = perf_counter()
    made = make(table.problem)
    making_s = perf_counter() - start
    steps = tuple(replay(table, made, budget=plan.budget, seed=seed, parallel=plan.parallel))
    return tuple(replace(s, suggest_s=s.suggest_s + making_s) if i == 0 else s for i, s in enumerate(steps))


def check_out(out: Path) -> None:
    """See to it that a file of results can be written, before hours of work are to be.

    Raises:
        SuiteError: it cannot.
    """
    there = next(path for path in (out, *out.absolute().parents) if path.exists())
    if out.is_dir() or (there != out and not there.is_dir()) or not os.access(there, os.W_OK):
        raise SuiteError(f"cannot write the results to {out}; name a file with --out")


def write(results: Results, out: Path) -> None:
    """Write the file of results; its folder is made."""
    out.parent.mkdir(parents=True, exist_ok=True)
    results.frame().to_csv(out, index=False)
