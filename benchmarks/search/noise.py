"""Cost of noise: trials measure each quantity times exp(sigma N(0, 1)), and searches are judged by true values.

    python -m benchmarks noise SUITE... [--searchers NAME...] [--sigmas 0.05 0.15]

A search sees the noisy measurements and recommends the configuration that looks best. It is judged by that one's true
value, so a lucky measurement, or one that looks just within a limit, costs what it would cost a user. The measurements
of other tasks, from which searchers learn, are as in the suite.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from benchmarks.recording.origin import Origin
from benchmarks.recording.sections import markdown, put
from benchmarks.search.replaying.conditions import Condition, keep, rows_of
from benchmarks.search.replaying.found import REGRETS, Found, by_suite, found_by, ratio
from benchmarks.search.replaying.suite_arguments import add_goal, plans_of, settings, suite_parser_of
from raytune_infer.suites.suites import Suite
from searchers.registry import DEFAULT, NAMED
from searchers.replay import MeasuredTable

SIGMAS = (0.05, 0.15)
"""Our choice: the standard deviation of ten load tests of 7 to 12 s was 4 to 8 % (benchmarks/measuring/RESULTS.md,
Repeatability); the second value is about twice the largest of these."""


@dataclass(frozen=True)
class Noise(Condition):
    """The condition of noisy measurements, drawn once for each task and seed and so the same for every searcher.

    Args:
        sigma: standard deviation of the logarithm of a measured quantity.
    """

    sigma: float

    @property
    def name(self) -> str:
        """The condition's name in tables."""
        return f"{self.sigma:g}"

    def table(self, suite: Suite, task: str, objective: str, seed: int) -> MeasuredTable:
        """The task's table as noisy trials measure it."""
        table = suite.table(task, objective)
        return noisy(table, self.sigma, np.random.default_rng([seed, zlib.crc32(task.encode())]))


def noisy(table: MeasuredTable, sigma: float, rng: np.random.Generator) -> MeasuredTable:
    """The table with every quantity of every configuration times its own exp(sigma N(0, 1)); failures stay."""
    metrics = tuple(
        None
        if measured is None
        else {name: value * float(np.exp(sigma * rng.standard_normal())) for name, value in measured.items()}
        for measured in table.metrics
    )
    return replace(table, metrics=metrics)


def for_good(found: Found) -> Found:
    """After each trial the worst recommendation from then on, since a recommendation can become worse again."""
    return Found(found.labels, np.minimum.accumulate(found.fractions[:, ::-1], axis=1)[:, ::-1])


def body(rows: pd.DataFrame, notes: Sequence[str], goal: float) -> str:
    """The text of the section of results."""
    parts = [
        f"Trials until what is recommended has {100 * goal:g} % of the best true value from then on; `–` is never, "
        "which a mean counts as the budget. Sigma: of the noise. × is mean trials as a multiple of the same searcher's "
        f"without noise, and of those of `{DEFAULT}` under the same noise, each with the 95 % interval of a bootstrap "
        "over groups. Regret: by what fraction of the best true value the one recommended then falls short, on average."
    ]
    tables = by_suite(rows, lambda mine: table_of(mine, goal))
    return "\n\n".join([*parts, *tables, *(f"- {note}" for note in notes)])


def table_of(rows: pd.DataFrame, goal: float) -> str:
    """The table of one suite, a row per searcher and sigma."""
    budget = int(rows["trial"].max())
    by_sigma = {str(name): found_by(part, budget=budget) for name, part in rows.groupby("condition", sort=False)}
    after = sorted({k for k in (*REGRETS, budget) if k <= budget})
    header = ["searcher", "sigma", "median / p90 / worst", "never", "mean", "× no noise", f"× {DEFAULT}",
              *(f"regret after {k}" for k in after)]  # fmt: skip
    settled = {sigma: {name: for_good(f) for name, f in found.items()} for sigma, found in by_sigma.items()}
    lines = []
    for searcher in dict.fromkeys(rows["searcher"]):
        for sigma in sorted(by_sigma, key=float):
            mine = settled[sigma][searcher]
            quiet = "" if sigma == "0" else str(ratio(mine, settled["0"][searcher], goal))
            default = settled[sigma].get(DEFAULT)
            multiple = "" if default is None or searcher == DEFAULT else str(ratio(mine, default, goal))
            means = [by_sigma[sigma][searcher].regret(k) for k in after]
            lines.append([str(searcher), sigma, *mine.cells(goal), quiet, multiple, *means])
    return markdown(header, lines)


def main(arguments: Sequence[str]) -> None:
    parser = suite_parser_of(__name__, __doc__, "all")
    add_goal(parser)
    parser.add_argument("--sigmas", nargs="+", type=float, default=list(SIGMAS), help="of the noise, beside none")
    asked = parser.parse_args(arguments)
    if min(asked.sigmas) <= 0:
        parser.error(f"--sigmas are above 0, got {asked.sigmas}; no noise is always among them")
    sigmas = dict.fromkeys([0.0, *asked.sigmas])
    rows, notes = rows_of(
        plans_of(asked, asked.searchers or sorted(NAMED)), [Noise(sigma) for sigma in sigmas], asked.jobs
    )
    print(keep(rows, "noise"))
    heading = f"Noisy trials: {settings(asked, rows)}"
    put(asked.out, heading, Origin.here(__name__, arguments), body(rows, notes, asked.goal))
