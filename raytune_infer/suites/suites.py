"""Suites of measured tables: a folder with a suite.json and, for each task, a table of the results of its trials.

A suite is one set of knobs and many tasks (a task is a model under a workload). Each task and objective is a problem
to replay. A searcher may first learn from other tasks, but never from one of the same group, which is the same model.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from raytune_infer.errors import SuiteError
from raytune_infer.spec.standard_knobs import encode_found
from raytune_infer.suites.histories import Sources, tried
from raytune_infer.suites.suite_file import SUITE_FILE, SuiteFile, read_suite_file, some, spelled
from searchers.base import Observation, Problem, Task
from searchers.objective import Metrics, Objective
from searchers.quantities import PRICE
from searchers.replay import MeasuredTable
from searchers.space import Config, Knob, Space, Value


@dataclass(frozen=True, eq=False)
class MeasuredTask:
    """One table of a suite.

    Args:
        name: name of the task.
        group: name of its group; tasks of one group are the same model.
        space: the configurations in the table; no other can be tried.
        metrics: for each position the metrics of its trial; None if the trial failed.
        usd_per_hour: `[n]` price of each configuration; NaN where the suite has none.
        facts: the numeric descriptors of the task.
    """

    name: str
    group: str
    space: Space
    metrics: tuple[Metrics | None, ...]
    usd_per_hour: np.ndarray
    facts: Mapping[str, float]

    @cached_property
    def as_source(self) -> Task:
        """The task for searchers to learn from: all trials, with prices where known; always the same object."""
        return self.source_of(range(len(self.metrics)))

    def source_of(self, positions: Iterable[int]) -> Task:
        """Return the task as a source of which only these positions were tried, with prices where known."""
        return Task(self.name, self.space, tuple(map(self._observed, positions)), self.facts, self.group)

    def _observed(self, position: int) -> Observation:
        metrics, usd = self.metrics[position], float(self.usd_per_hour[position])
        return Observation(position, metrics if metrics is None or math.isnan(usd) else {**metrics, PRICE: usd})


@dataclass(frozen=True, eq=False)
class Suite:
    """Tasks with their tables, and which of them a search on each task may learn from.

    Args:
        name: name of the suite.
        objectives: name → objective.
        tasks: name → task.
        sources: names of the tasks to learn from.
        targets: names of the tasks to evaluate on; if empty, all sources, each without learning from its own group.
    """

    name: str
    objectives: Mapping[str, Objective]
    tasks: Mapping[str, MeasuredTask]
    sources: tuple[str, ...]
    targets: tuple[str, ...] = ()
    _sources: dict[tuple[str, ...], tuple[Task, ...]] = field(default_factory=dict, init=False, repr=False)
    _histories: dict[tuple[str, str], Task] = field(default_factory=dict, init=False, repr=False)

    @property
    def judged(self) -> tuple[str, ...]:
        """Names of the tasks that searchers are evaluated on."""
        return self.targets or self.sources

    def sources_of(self, task: str) -> tuple[str, ...]:
        """Return the tasks that a search on this one may learn from: all sources that are not of its group."""
        group = self.tasks[task].group
        return tuple(name for name in self.sources if self.tasks[name].group != group)

    def together(self, *, with_sources: bool = True) -> tuple[tuple[str, ...], ...]:
        """Return the judged tasks in groups that learn from the same sources, so that each is learned only once."""
        groups: dict[tuple[str, ...], list[str]] = {}
        for task in self.judged:
            sources = self.sources_of(task) if with_sources else ()
            # Tasks without sources share no learning, so each is a group of its own and they can run in parallel.
            groups.setdefault(sources or ("", task), []).append(task)
        return tuple(map(tuple, groups.values()))

    def table(self, task: str, objective: str, *, sources: Sources = "tables") -> MeasuredTable:
        """Return the problem of a task under an objective, with the measured results.

        Problems that may learn from the same tasks share one tuple of them, whole tables under every objective, so that
        a searcher needs to learn from it only once.

        Raises:
            ValueError: with histories, a library that one of their searchers needs is not installed.
        """
        measured = self.tasks[task]
        names = self.sources_of(task) if sources != "none" else ()
        known = self._known(names, objective if sources == "histories" else None)
        goal = self.objectives[objective]
        problem = Problem(measured.space, goal, measured.usd_per_hour, measured.facts, known)
        return MeasuredTable(problem, measured.metrics, f"{self.name}/{objective}/{task}")

    def _known(self, names: tuple[str, ...], studied_for: str | None) -> tuple[Task, ...]:
        """Return these tasks whole, or with what a study for an objective tried; always the same tuple."""
        key = names if studied_for is None else (*names, studied_for)
        if key not in self._sources:
            self._sources[key] = tuple(
                self.tasks[name].as_source if studied_for is None else self._history(name, studied_for)
                for name in names
            )
        return self._sources[key]

    def _history(self, name: str, objective: str) -> Task:
        if (name, objective) not in self._histories:
            positions = tried(self.table(name, objective, sources="none"), self.sources.index(name))
            self._histories[name, objective] = self.tasks[name].source_of(positions)
        return self._histories[name, objective]


def load_suite(folder: Path) -> Suite:
    """Read and check a whole suite.

    Raises:
        SuiteError: a file is invalid; the message names file, line and column, what is allowed and the remedy.
    """
    file = read_suite_file(folder / SUITE_FILE)
    knobs = tuple(encode_found(p.name, p.values, p.kind) for p in file.parameters)
    tasks = {name: _read_task(folder / f"{name}.csv", name, file, knobs) for name in file.task_names}
    return Suite(
        file.name or folder.resolve().name, file.goals(), tasks, tuple(file.tasks.source), tuple(file.tasks.target)
    )


def _read_task(path: Path, name: str, file: SuiteFile, knobs: Sequence[Knob]) -> MeasuredTask:
    rows = _read_rows(path, file)
    configs = _configs(path, rows, knobs, {p.name for p in file.parameters if p.optional})
    space = Space(knobs, configs)
    positions = [space.position(config) for config in configs]
    _refuse_repeated(path, rows.index, positions, space)
    measured = {metric: _numbers(path, rows[metric], empty=True) for metric in file.metrics}
    usd = np.full(len(space), math.nan)
    if file.cost is not None:
        usd[positions] = _prices(path, rows[file.cost])
    metrics: list[Metrics | None] = [None] * len(space)
    for row, position in enumerate(positions):
        found = {metric: column[row] for metric, column in measured.items()}
        # A row that lacks one of its metrics counts as a failed trial.
        metrics[position] = None if any(map(math.isnan, found.values())) else found
    facts = {
        fact: float(value)
        for fact, value in file.descriptors.get(name, {}).items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    return MeasuredTask(name, file.groups[name], space, tuple(metrics), usd, facts)


def _read_rows(path: Path, file: SuiteFile) -> pd.DataFrame:
    """Read the table as text, so that values can be compared as they are spelled; its index is the line number."""
    try:
        lines = pd.read_csv(
            path, header=None, dtype=str, keep_default_na=False, skip_blank_lines=False, encoding="utf-8-sig"
        )
    except FileNotFoundError:
        raise SuiteError(f"cannot read {path}: no such table; add it or take the task out of `tasks`") from None
    except (OSError, UnicodeDecodeError, pd.errors.EmptyDataError, pd.errors.ParserError) as error:
        raise SuiteError(f"cannot read {path}: {error}".strip()) from None
    lines = lines.fillna("").apply(lambda column: column.str.strip())
    lines.index += 1
    header, rows = list(lines.iloc[0]), lines.iloc[1:]
    for column in file.columns:
        if header.count(column) != 1:
            wrong = "occurs twice" if column in header else "is missing"
            raise SuiteError(
                f"{path}:1: the column {column!r} {wrong}; each of {', '.join(file.columns)} is needed once, "
                f"there are {', '.join(header)}"
            )
    rows = rows.set_axis(header, axis=1)[list(file.columns)]
    rows = rows[(rows != "").any(axis=1)]
    if rows.empty:
        raise SuiteError(f"{path}: has no rows; a table needs one or more configurations")
    return rows


def _configs(path: Path, rows: pd.DataFrame, knobs: Sequence[Knob], optional: Set[str]) -> list[Config]:
    columns: dict[str, list[Value | None]] = {}
    for knob in knobs:
        known = {spelled(value): value for value in knob.values}
        columns[knob.name] = []
        for line, text in rows[knob.name].items():
            value = known.get(spelled(text))
            if value is None and not (text == "" and knob.name in optional):
                remedy = "add the value there or correct it here"
                if text == "":
                    remedy += ', or write `"optional": true` there if it does not exist in some rows'
                raise SuiteError(
                    f"{path}:{line}: {knob.name} is {text!r}; suite.json allows {some(map(str, knob.values))}; {remedy}"
                )
            columns[knob.name].append(value)
    return [
        {name: value for name, value in zip(columns, values, strict=True) if value is not None}
        for values in zip(*columns.values(), strict=True)
    ]


def _refuse_repeated(path: Path, lines: Iterable[int], positions: Sequence[int], space: Space) -> None:
    first: dict[int, int] = {}
    for line, position in zip(lines, positions, strict=True):
        if position in first:
            raise SuiteError(f"{path}:{line}: {space[position]} is already in line {first[position]}; keep one of them")
        first[position] = line


def _numbers(path: Path, column: pd.Series[str], *, empty: bool) -> list[float]:
    """Return a column's numbers; NaN for an empty cell if `empty` allows it."""
    numbers = []
    for line, text in column.items():
        if empty and not text:
            numbers.append(math.nan)
            continue
        try:
            numbers.append(float(text))
        except ValueError:
            numbers.append(math.nan)
        if not math.isfinite(numbers[-1]):
            rest = "; leave all metrics empty for a trial that fails" if empty else ""
            raise SuiteError(f"{path}:{line}: {column.name} is {text!r}; it must be a finite number{rest}")
    return numbers


def _prices(path: Path, column: pd.Series[str]) -> list[float]:
    prices = _numbers(path, column, empty=False)
    for line, price in zip(column.index, prices, strict=True):
        if price < 0:
            raise SuiteError(f"{path}:{line}: {column.name} is {price:g}; a price is 0 or more US dollars an hour")
    return prices
