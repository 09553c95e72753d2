"""Evaluation of searchers: many searches replayed on a suite of measured tables, in several processes.

The unit of work is one searcher with all tasks that learn from the same sources, so that it learns from these only
once. Each process has one thread, so a search gives the same result in any of them.
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
from raytune_infer.suites.histories import SEARCHED_BY, Sources
from raytune_infer.suites.suites import Suite, load_suite
from raytune_infer.suites.workers import WorkerDied, in_processes
from searchers.registry import DEFAULT, TAKES_SURFACES, SearcherFactory, named
from searchers.replay import MeasuredTable, Step, replay

COLUMNS = (
    "suite", "objective", "group", "task", "searcher", "seed", "trial", "config", "feasible", "value", "best",
    "fraction", "suggest_s",
)  # fmt: skip
"""Columns of the results file, which has one row per trial."""


@dataclass(frozen=True)
class Plan:
    """The searches that are to be replayed.

    Args:
        folder: the suite's folder.
        searchers: names in `searchers.registry`.
        objectives: names of the suite's objectives; empty for all.
        budget: most trials of one search.
        seeds: number of searches for each task, objective and searcher; their seeds are 0, 1, …
        parallel: number of trials that run at a time.
        sources: what searchers may learn from the suite's other tasks.
        prior: file of prior knowledge for the searchers that take one; None for the shipped prior.
        until_best: whether a search ends with the trial that finds the best of the table, after which no figure of it
            can change.
        load: what reads the suite in each process from the folder; a function at module level.

    Raises:
        ValueError: there is no searcher, or a number is below 1.
    """

    folder: Path
    searchers: tuple[str, ...] = (DEFAULT,)
    objectives: tuple[str, ...] = ()
    budget: int = 40
    seeds: int = 3
    parallel: int = 1
    sources: Sources = "tables"
    prior: Path | None = None
    until_best: bool = False
    load: Callable[[Path], Suite] = load_suite

    def __post_init__(self) -> None:
        if not self.searchers or min(self.budget, self.seeds, self.parallel) < 1:
            raise ValueError(
                f"at least one searcher is needed, and budget, seeds and parallel must be 1 or more, got {self}"
            )

    def checked(self, suite: Suite) -> Plan:
        """Return this plan with all its objectives named and without repeated names.

        Raises:
            SuiteError: there is no such searcher, or the suite has no such objective.
            UserError: the prior file is invalid, or none of the searchers takes one.
        """
        for name in (*self.searchers, *(SEARCHED_BY if self.sources == "histories" else ())):
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

    def factory(self, searcher: str) -> SearcherFactory:
        """Return the factory of a searcher of this plan, which makes the searcher for a problem."""
        if self.prior is None or searcher not in TAKES_SURFACES:
            return named(searcher)
        return named(searcher, read_prior(self.prior).surfaces)


@dataclass(frozen=True)
class Unit:
    """A unit of work: one searcher on the tasks that learn from the same sources."""

    searcher: str
    tasks: tuple[str, ...]


@dataclass(frozen=True)
class Search:
    """One replayed search.

    Args:
        objective: name of the objective in the suite.
        task: name of the task.
        searcher: name of the searcher.
        seed: seed of its random choices.
        best: best value in the table.
        steps: the search's trials.
    """

    objective: str
    task: str
    searcher: str
    seed: int
    best: float
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Results:
    """The finished searches, in the order of objectives, tasks, searchers and seeds.

    Args:
        plan: the plan that was replayed.
        suite: the suite that was searched.
        searches: all searches, or those that were finished before the work was stopped.
        stopped: what ended the work early; None if it is complete.
        hopeless: pairs (objective, task) in which no configuration counts; they were left out.
    """

    plan: Plan
    suite: Suite
    searches: tuple[Search, ...]
    stopped: KeyboardInterrupt | WorkerDied | None
    hopeless: tuple[tuple[str, str], ...]

    def of(self, searcher: str, objective: str | None = None) -> list[Search]:
        """Return the searches of one searcher, under one objective or all."""
        return [s for s in self.searches if s.searcher == searcher and objective in (None, s.objective)]

    def notes(self) -> list[str]:
        """Return notes on what the figures do not show: an early end, and tasks that were left out."""
        notes = []
        if self.stopped is not None:
            why = f" ({self.stopped})" if str(self.stopped) else ""
            notes.append(f"stopped early; the figures cover the finished searches only{why}")
        if self.hopeless:
            tasks = ", ".join(f"{task} ({objective})" for objective, task in self.hopeless)
            notes.append(f"left out, as no configuration is feasible there: {tasks}")
        return notes

    def frame(self) -> pd.DataFrame:
        """Return a table in `COLUMNS` with one row per trial; value and best are empty while nothing counts."""
        rows = [
            (
                self.suite.name, search.objective, self.suite.tasks[search.task].group, search.task, search.searcher,
                search.seed, trial, json.dumps(self.suite.tasks[search.task].space[step.position]), step.feasible,
                step.value, step.best, (step.best or 0.0) / search.best, step.suggest_s,
            )
            for search in self.searches
            for trial, step in enumerate(search.steps, start=1)
        ]  # fmt: skip
        return pd.DataFrame(rows, columns=list(COLUMNS))


Watch = Callable[[int, int], None]
"""Callback that gets the number of finished searches and the number of all."""


def run(plan: Plan, suite: Suite, *, jobs: int = 1, watch: Watch = lambda done, of: None) -> Results:
    """Replay all searches of a plan.

    Args:
        plan: the searches to replay.
        suite: the suite in the plan's folder.
        jobs: number of processes.
        watch: called after each finished search.

    Returns:
        The results; after Ctrl-C or the death of a process, those of the searches finished by then.

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
    """Return all units of work of a plan, ordered by searcher."""
    together = suite.together(with_sources=plan.sources != "none")
    return [Unit(name, tasks) for name in plan.searchers for tasks in together]


def _searches(plan: Plan, given: Iterator[Unit]) -> Iterator[Search]:
    """Run the searches of these units one after another; this is the work of one process."""
    import torch

    torch.set_num_threads(1)
    suite = plan.load(plan.folder)
    for unit in given:
        yield from searches(suite, plan, unit)


def searches(suite: Suite, plan: Plan, unit: Unit) -> Iterator[Search]:
    """Run the searches of one unit under the plan's objectives, in this process."""
    make = plan.factory(unit.searcher)
    for objective in plan.objectives:
        for task in unit.tasks:
            table = suite.table(task, objective, sources=plan.sources)
            best = float(table.values().max())
            if best > 0:
                for seed in range(plan.seeds):
                    yield Search(objective, task, unit.searcher, seed, best, _steps(table, plan, make, seed, best))


def _steps(table: MeasuredTable, plan: Plan, make: SearcherFactory, seed: int, best: float) -> tuple[Step, ...]:
    """Run one search; the time to make its searcher counts towards that of its first suggestion."""
    start = perf_counter()
    made = make(table.problem)
    making_s = perf_counter() - start
    steps: list[Step] = []
    for step in replay(table, made, budget=plan.budget, seed=seed, parallel=plan.parallel):
        steps.append(step)
        if plan.until_best and step.best == best:
            break
    return tuple(replace(s, suggest_s=s.suggest_s + making_s) if i == 0 else s for i, s in enumerate(steps))


def check_out(out: Path) -> None:
    """Check that the results file can be written, before hours of work are spent.

    Raises:
        SuiteError: the file cannot be written, or is another than results of a replay.
    """
    there = next(path for path in (out, *out.absolute().parents) if path.exists())
    if out.is_dir() or (there != out and not there.is_dir()) or not os.access(there, os.W_OK):
        raise SuiteError(f"cannot write the results to {out}; name a file with --out")
    header = ",".join(COLUMNS).encode()
    if out.exists() and (begins := _begin_of(out, len(header))) and begins != header:
        raise SuiteError(f"{out} is there and does not hold results of a replay; name another file with --out")


def _begin_of(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        return file.read(size)


def write(results: Results, out: Path) -> None:
    """Write the results file; its folder is created."""
    out.parent.mkdir(parents=True, exist_ok=True)
    results.frame().to_csv(out, index=False)
