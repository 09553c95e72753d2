"""What an expectation of the metrics is worth: searches with and without it, on models whose family no source has.

    python -m benchmarks expected [SUITE...] [--searchers meta falcon] [--budget 20] [--seeds 1]

What is expected is the roofline's prediction from a model's totals of FLOP, weights, traffic and kernels, with rates
and uncertainties from the other families' tables alone. A search learns from the other families' whole tables, or from
no table at all, as in a new database on a device whose rates were measured by themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from benchmarks.recording.arguments import recording_parser_of
from benchmarks.recording.origin import ROOT, Origin
from benchmarks.recording.sections import markdown, put
from benchmarks.search.emulated import paper_space
from benchmarks.search.emulated.predicted import expected_of
from benchmarks.search.emulated.suites import suite_at
from benchmarks.search.replaying.conditions import Condition, keep, rows_of
from benchmarks.search.replaying.found import REGRETS, by_suite, found_by, ratio
from benchmarks.search.replaying.suite_arguments import add_goal, settings, suite_folder
from raytune_infer.suites.replays import Plan
from raytune_infer.suites.suites import Suite
from searchers.base import ExpectedMetrics
from searchers.registry import LEARNS
from searchers.replay import MeasuredTable

SUITES = (ROOT / "data" / "planes-cpu", Path(paper_space.NAME))
"""The suites whose tasks have the facts that a prediction needs."""


@dataclass(frozen=True)
class Knowledge(Condition):
    """What a search starts from.

    Args:
        sources: whether it has the other families' tables.
        expected: whether it is told what is expected of the metrics.
    """

    sources: Literal["tables", "none"]
    expected: bool

    @property
    def name(self) -> str:
        """The condition's name in tables."""
        tables = "other families" if self.sources == "tables" else "no service"
        return f"{tables}, prediction" if self.expected else tables

    def table(self, suite: Suite, task: str, objective: str, seed: int) -> MeasuredTable:
        """The suite's table, with what is expected or without."""
        table = suite.table(task, objective, sources=self.sources)
        if not self.expected:
            return table
        return replace(table, problem=replace(table.problem, expected=_expected(suite, task)))


@lru_cache(maxsize=64)
def _expected(suite: Suite, task: str) -> ExpectedMetrics:
    return expected_of(suite, task)


CONDITIONS = tuple(Knowledge(sources, expected) for sources in ("tables", "none") for expected in (False, True))


def quality(suite: Suite) -> Mapping[str, tuple[float, float]]:
    """Task → rank correlation of predicted and measured rates, and the predicted best as a fraction of the best."""
    out = {}
    objective = next(iter(suite.objectives))
    for task in suite.judged:
        table, measured = suite.table(task, objective, sources="none"), suite.tasks[task]
        expected, values = _expected(suite, task), table.values()
        ran = np.array([metrics is not None for metrics in measured.metrics])
        rps = np.array([metrics["rps"] for metrics in measured.metrics if metrics is not None])
        log = {metric: np.exp(mean) for metric, mean in expected.log_mean.items()}
        predicted = suite.objectives[objective].values(log, measured.usd_per_hour)
        predicted = predicted if expected.runs is None else predicted * expected.runs
        rank = float(spearmanr(expected.log_mean["rps"][ran], rps).statistic)
        out[task] = rank, float(values[int(np.argmax(predicted))] / values.max())
    return out


def body(rows: pd.DataFrame, suites: Sequence[Suite], notes: Sequence[str], goal: float) -> str:
    """The text of the section of results."""
    about = (
        f"Trials to {100 * goal:g} % of the best value, by what a search knows beforehand. × is mean trials as a "
        "multiple of those of the same searcher without the prediction, with the 95 % interval of a bootstrap over "
        "families. "
        "Regret: by what fraction of the best value the best found falls short, on average."
    )
    told = [_predictions(suite) for suite in suites]
    return "\n\n".join([about, *told, *by_suite(rows, lambda part: _table(part, goal)), *(f"- {n}" for n in notes)])


def _predictions(suite: Suite) -> str:
    ranks, best = np.array(list(quality(suite).values())).T
    return (
        f"Predictions of {suite.name}: rank correlation with the rates of its tables {np.median(ranks):.2f} in the "
        f"median of {len(ranks)} tasks (least {ranks.min():.2f}); the configuration predicted as best has "
        f"{np.median(best):.2f} of the best value (least {best.min():.2f}) under its first objective."
    )


def _table(rows: pd.DataFrame, goal: float) -> str:
    goals = tuple(dict.fromkeys((goal, 0.95)))
    lines = []
    for searcher, own in rows.groupby("searcher", sort=False):
        found = found_by(own, "condition", budget=int(rows["trial"].max()))
        for condition in CONDITIONS:
            if condition.name not in found:
                continue
            mine, without = found[condition.name], found.get(replace(condition, expected=False).name)
            cells = []
            for each in goals:
                told = condition.expected and without is not None
                cells += [*mine.cells(each), str(ratio(mine, without, each)) if told and without is not None else ""]
            lines.append([str(searcher), condition.name, str(len(mine.labels)), *cells, *map(mine.regret, REGRETS)])
    columns = [c for g in goals for c in (f"{100 * g:g} %: median / p90 / worst", "not found", "mean", "×")]
    header = ["searcher", "knows", "searches", *columns, *(f"regret after {k}" for k in REGRETS)]
    return markdown(header, lines, text=(0, 1))


def main(arguments: Sequence[str]) -> None:
    parser = recording_parser_of(__name__, __doc__)
    parser.add_argument(
        "suites", nargs="*", type=suite_folder, default=SUITES, metavar="SUITE", help="suites with facts"
    )
    parser.add_argument("--searchers", nargs="+", choices=sorted(LEARNS), default=["meta", "falcon"], metavar="NAME")
    parser.add_argument("--budget", type=int, default=20, help="trials of a search at most")
    parser.add_argument("--seeds", type=int, default=1, help="searches per task, objective, searcher and condition")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--objectives", nargs="+", default=[], metavar="NAME", help="by default all of a suite's")
    add_goal(parser)
    asked = parser.parse_args(arguments)
    plans = [
        Plan(folder, tuple(asked.searchers), tuple(asked.objectives), asked.budget, asked.seeds, load=suite_at)
        for folder in asked.suites
    ]
    rows, notes = rows_of(plans, CONDITIONS, asked.jobs)
    print(keep(rows, "expected"))
    suites = [suite_at(folder) for folder in asked.suites]
    text = body(rows, suites, notes, asked.goal)
    put(asked.out, f"With an expectation: {settings(asked, rows)}", Origin.here(__name__, arguments), text)
