"""Cost of preferring trials that need no new replica: trials to a goal, and new replicas started.

    python -m benchmarks switching SUITE... [--near 0 0.05 0.1 0.2]

Among configurations whose acquisition is near the largest, the default searcher prefers one that the replica of the
last trial can be changed into (`searchers/meta/switching.py`). How near, as a fraction of the largest acquisition, is
varied; with 0 it has no preference. Knobs that change in place are those that the tool knows as such by name; in a
suite without them, no replica can be saved.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from benchmarks.recording.origin import Origin
from benchmarks.recording.sections import markdown, put
from benchmarks.search.replaying.conditions import keep
from benchmarks.search.replaying.found import KEYS, by_suite, found_by, ratio
from benchmarks.search.replaying.processes import parts_of_all
from benchmarks.search.replaying.suite_arguments import add_goal, plans_of, settings, suite_parser_of
from raytune_infer.suites.replays import Plan, Unit
from raytune_infer.suites.suites import Suite
from searchers.meta.meta import NEAR, Meta
from searchers.meta.switching import replicas
from searchers.replay import MeasuredTable, Step, fractions, replay

COLUMNS = ("suite", "objective", "group", "task", "near", "seed", "trial", "fraction", "switched")
IN_PLACE_S, NEW_REPLICA_S = 0.2, 7.0
"""Seconds that a trial waits for its replica: the goal of the warm pool, and about the middle of the 5 to 10 s of a new
replica."""


def switched(steps: Sequence[Step], needed: np.ndarray) -> list[bool]:
    """For each trial whether it needs another replica than the one before; the first always does.

    Args:
        steps: the trials of one search.
        needed: `[n]` number of the replica that each configuration needs.
    """
    kinds = needed[[step.position for step in steps]]
    return [True, *(kinds[1:] != kinds[:-1]).tolist()]


def searches(suite: Suite, plan: Plan, unit: Unit, nears: Sequence[float]) -> Iterator[pd.DataFrame]:
    """The rows of each search of a unit."""
    for objective in plan.objectives:
        for task in unit.tasks:
            table = suite.table(task, objective)
            labels, best = (suite.name, objective, suite.tasks[task].group, task), float(table.values().max())
            for near in nears if best > 0 else ():
                for seed in range(plan.seeds):
                    yield _rows(table, near, seed, plan.budget, best, (*labels, f"{near:g}", seed))


def _rows(
    table: MeasuredTable, near: float, seed: int, budget: int, best: float, labels: tuple[object, ...]
) -> pd.DataFrame:
    steps = list(replay(table, Meta(table.problem, near=near), budget=budget, seed=seed))
    columns = zip(fractions(steps, best, len(steps)), switched(steps, replicas(table.problem.space)), strict=True)
    return pd.DataFrame([(*labels, k, *each) for k, each in enumerate(columns, start=1)], columns=COLUMNS)


def body(rows: pd.DataFrame, goal: float) -> str:
    """The text of the section of results."""
    parts = [
        f"Trials until {100 * goal:g} % of the best value (median / p90 / worst), and × their mean as a multiple of "
        "that of a searcher that does not care for replicas (near 0), with the 95 % interval of a bootstrap over "
        "groups. New replicas: the share of trials that need another replica than the one before (the first does), "
        f"until the goal and in the whole search, and what a trial then waits for its replica, at {IN_PLACE_S:g} s for "
        f"a change in place and {NEW_REPLICA_S:g} s for a new one. The default is {NEAR:g}."
    ]
    header = ("near", "searches", "trials", "not found", "mean", "× near 0", "new replicas to the goal",
              "in the whole search", "s a trial to the goal", "s a trial")  # fmt: skip
    return "\n\n".join([*parts, *by_suite(rows, lambda mine: markdown(header, list(_lines(mine, goal))))])


def _lines(rows: pd.DataFrame, goal: float) -> Iterator[list[str]]:
    found = found_by(rows, "near")
    for near, mine in rows.groupby("near", sort=False):
        one = found[str(near)]
        multiple = "" if near == "0" or "0" not in found else str(ratio(one, found["0"], goal))
        searching = mine.groupby(list(KEYS))["fraction"].shift(fill_value=0.0) < goal
        shares = [part["switched"].mean() for part in (mine[searching], mine)]
        waiting = [f"{share * NEW_REPLICA_S + (1 - share) * IN_PLACE_S:.1f}" for share in shares]
        cells = [*(f"{share:.2f}" for share in shares), *waiting]
        yield [str(near), str(len(one.labels)), *one.cells(goal), multiple, *cells]


def main(arguments: Sequence[str]) -> None:
    parser = suite_parser_of(__name__, __doc__, None)
    parser.add_argument("--near", nargs="+", type=float, default=[0.0, 0.05, 0.1, 0.2, 0.3], help="fractions")
    add_goal(parser)
    asked = parser.parse_args(arguments)
    parts = parts_of_all(searches, plans_of(asked, ["meta"]), asked.near, asked.jobs)
    rows = pd.concat(parts, ignore_index=True)
    rows = rows.sort_values(["suite", "near", "objective", "task", "seed", "trial"], ignore_index=True)
    print(keep(rows, "switching"))
    heading = f"Switches of replicas: {settings(asked, rows)}"
    put(asked.out, heading, Origin.here(__name__, arguments), body(rows, asked.goal))
