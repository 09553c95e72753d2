"""The default searcher's tolerance: trials to other goals than the one that its acquisition has in it.

    python -m benchmarks tolerance SUITE... [--tolerances 0.01 0.02 0.05 0.1]

The acquisition counts values that are worse than the best by at most a tolerance as the best, by default 0.05: the very
goal that the other benchmarks count trials to. Here it is varied, and trials are counted to several goals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd

from benchmarks.recording.origin import Origin
from benchmarks.recording.sections import markdown, put
from benchmarks.search.replaying.conditions import Condition, keep, rows_of
from benchmarks.search.replaying.found import REGRETS, by_suite, found_by, ratio
from benchmarks.search.replaying.suite_arguments import plans_of, settings, suite_parser_of
from searchers.meta.meta import Meta
from searchers.registry import DEFAULT, SearcherFactory

GOALS = (0.9, 0.95, 0.99)
"""Fractions of the best that trials are counted to: the tolerances of 0.1, 0.05 and 0.01 have one of them each."""
REFERENCE = "0.05"
"""The default tolerance, whose trials are the unit of the others'."""


@dataclass(frozen=True)
class Tolerance(Condition):
    """The condition of a tolerance of the default searcher, in spaces that are not too large for a joint prior.

    Args:
        value: fraction of the best value.
    """

    value: float

    @property
    def name(self) -> str:
        """The condition's name in tables."""
        return f"{self.value:g}"

    def make(self, searcher: str) -> SearcherFactory:
        """The default searcher with this tolerance, whatever the name."""
        return partial(Meta, tolerance=self.value)


def body(rows: pd.DataFrame, notes: Sequence[str]) -> str:
    """The text of the section of results."""
    about = (
        f"Trials of `{DEFAULT}` until a fraction of the best value, median / p90 / worst, for several tolerances of "
        f"its acquisition; the default is {REFERENCE}. × is mean trials as a multiple of those with the default, with "
        "the 95 % interval of a bootstrap over groups. Regret: by what fraction of the best value the best found "
        "falls short, on average."
    )
    return "\n\n".join([about, *by_suite(rows, _table), *(f"- {note}" for note in notes)])


def _table(rows: pd.DataFrame) -> str:
    columns = [column for goal in GOALS for column in (f"to {100 * goal:g} %", "not found", "×")]
    found = found_by(rows, "condition", budget=int(rows["trial"].max()))
    lines = []
    for name in sorted(found, key=float):
        mine, cells = found[name], []
        for goal in GOALS:
            multiple = "" if name == REFERENCE or REFERENCE not in found else str(ratio(mine, found[REFERENCE], goal))
            cells += [*mine.cells(goal)[:2], multiple]
        lines.append([name, str(len(mine.labels)), *cells, *map(mine.regret, REGRETS)])
    return markdown(["tolerance", "searches", *columns, *(f"regret after {k}" for k in REGRETS)], lines)


def main(arguments: Sequence[str]) -> None:
    parser = suite_parser_of(__name__, __doc__, None)
    parser.add_argument("--tolerances", nargs="+", type=float, default=[0.01, 0.02, 0.05, 0.1], help="fractions")
    asked = parser.parse_args(arguments)
    if not all(0 <= value < 1 for value in asked.tolerances):
        parser.error(f"--tolerances are from 0 to below 1, got {asked.tolerances}")
    rows, notes = rows_of(plans_of(asked, [DEFAULT]), [Tolerance(value) for value in asked.tolerances], asked.jobs)
    print(keep(rows, "tolerance"))
    put(asked.out, f"Tolerance: {settings(asked, rows)}", Origin.here(__name__, arguments), body(rows, notes))
