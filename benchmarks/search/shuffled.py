"""Cost of wrong prior knowledge: the same searcher with true sources, with shuffled ones, and with none.

    python -m benchmarks shuffled SUITE... [--searchers NAME...] [--objectives NAME...]

Shuffled sources are true measurements given to the wrong configurations. If each task is shuffled by its own
permutation, sources contradict each other, and a searcher may notice. With one permutation for all, sources agree and
are wrong together, which only the task at hand can show. A robust searcher needs hardly more trials than without them.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import numpy as np
import pandas as pd
import torch

from benchmarks.recording.origin import Origin
from benchmarks.recording.sections import markdown, put
from benchmarks.search.emulated.suites import suite_at
from benchmarks.search.replaying.conditions import Condition, keep, rows_of
from benchmarks.search.replaying.found import REGRETS, by_suite, found_by, ratio
from benchmarks.search.replaying.seeds import first_trials
from benchmarks.search.replaying.suite_arguments import add_goal, plans_of, settings, suite_parser_of
from raytune_infer.suites.suites import Suite
from searchers.base import Observation, Task
from searchers.registry import NAMED, named
from searchers.replay import MeasuredTable

Shuffling = Literal["none", "true", "shuffled apart", "shuffled alike"]
SHUFFLINGS: tuple[Shuffling, ...] = ("none", "true", "shuffled apart", "shuffled alike")


@dataclass(frozen=True)
class Sources(Condition):
    """The condition of what a searcher may learn from.

    Shuffles are drawn once for each set of sources, so that a searcher learns from each set only once.
    """

    kind: Shuffling

    @property
    def name(self) -> str:
        """The condition's name in tables."""
        return self.kind

    def table(self, suite: Suite, task: str, objective: str, seed: int) -> MeasuredTable:
        """The task's table with its sources replaced."""
        table = suite.table(task, objective, sources="none" if self.kind == "none" else "tables")
        if self.kind in ("none", "true"):
            return table
        sources = _shuffled(table.problem.sources, self.kind == "shuffled alike")
        return replace(table, problem=replace(table.problem, sources=sources))


@cache
def _shuffled(tasks: tuple[Task, ...], alike: bool) -> tuple[Task, ...]:
    rng = np.random.default_rng(zlib.crc32("/".join(task.name for task in tasks).encode()))
    return shuffled(tasks, rng, alike=alike)


def shuffled(tasks: Sequence[Task], rng: np.random.Generator, *, alike: bool) -> tuple[Task, ...]:
    """The tasks with their measurements permuted among the configurations of the same task.

    Args:
        tasks: services studied before.
        rng: generator of the permutations.
        alike: whether to use one permutation for all tasks. Where tasks have different configurations, those that
            they share still come in the same order.
    """
    keys: dict[tuple[object, ...], float] = {}
    out = []
    for task in tasks:
        configs = [tuple(sorted(task.space[o.position].items())) for o in task.observed]
        if not alike:
            keys = {}
        for config in configs:
            keys.setdefault(config, rng.random())
        order = np.argsort([keys[config] for config in configs], kind="stable")
        observed = tuple(
            Observation(to.position, task.observed[i].metrics) for to, i in zip(task.observed, order, strict=True)
        )
        out.append(replace(task, observed=observed))
    return tuple(out)


def learns(searcher: str, suite: Suite, *, tasks: int = 2, trials: int = 5) -> bool:
    """Whether sources change what a searcher does: compares its first trials on a few tasks with and without them.

    This is tried rather than listed by name, since a list can be wrong.
    """
    torch.set_num_threads(1)
    for objective in suite.objectives:
        for task in [name for name in suite.judged if suite.sources_of(name)][:tasks]:
            true, none = (
                first_trials(suite.table(task, objective, sources=known), named(searcher), trials=trials)
                for known in ("tables", "none")
            )
            if true != none:
                return True
    return False


def body(rows: pd.DataFrame, notes: Sequence[str], goal: float) -> str:
    """The text of the section of results."""
    parts = [
        f"Trials until {100 * goal:g} % of the best value; `–` is not found within the budget, which a mean counts as "
        "the budget. × is mean trials as a multiple of the same searcher's without sources, with the 95 % interval of "
        "a bootstrap over groups. Apart: each source shuffled by its own permutation; alike: all by one."
    ]
    header = ("searcher", "sources", "median / p90 / worst", "not found", "mean", "× none",
              *(f"regret after {k}" for k in REGRETS))  # fmt: skip
    tables = by_suite(rows, lambda mine: markdown(header, _lines(mine, goal)))
    return "\n\n".join([*parts, *tables, *(f"- {note}" for note in notes)])


def _lines(rows: pd.DataFrame, goal: float) -> list[list[str]]:
    lines = []
    for searcher, mine in rows.groupby("searcher", sort=True):
        found = found_by(mine, "condition", budget=int(rows["trial"].max()))
        for kind in SHUFFLINGS:
            multiple = "" if kind == "none" else str(ratio(found[kind], found["none"], goal))
            one = found[kind]
            lines.append([str(searcher), kind, *one.cells(goal), multiple, *map(one.regret, REGRETS)])
    return lines


def main(arguments: Sequence[str]) -> None:
    parser = suite_parser_of(__name__, __doc__, "all that learn from sources")
    add_goal(parser)
    asked = parser.parse_args(arguments)
    suites: Mapping[object, Suite] = {folder: suite_at(folder) for folder in asked.suites}
    names = asked.searchers or [name for name in sorted(NAMED) if any(learns(name, s) for s in suites.values())]
    if not names:
        raise SystemExit(f"sources change the search of none of: {', '.join(sorted(NAMED))}")
    rows, notes = rows_of(plans_of(asked, names), [Sources(kind) for kind in SHUFFLINGS], asked.jobs)
    print(keep(rows, "shuffled"))
    heading = f"Shuffled sources: {settings(asked, rows)}"
    put(asked.out, heading, Origin.here(__name__, arguments), body(rows, notes, asked.goal))
