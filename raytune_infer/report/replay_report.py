"""View of a replay: a row for each searcher, followed by one for each objective."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from raytune_infer.counted import counted
from raytune_infer.report.view import Cell, Column, Note, Quantiles, Row, Table, View
from raytune_infer.suites.replays import Results
from searchers.replay import fractions, mean_after, trials_over

GOALS = (0.9, 0.95, 1.0)
"""Fractions of the best value; the table shows the number of trials until each is reached."""

AFTER = (5, 10, 30)
"""Numbers of trials after which the mean fraction is shown."""


def replay_view(results: Results, out: Path) -> View:
    """Return the summary, notes on what it does not show, and the file that has each trial."""
    told = [*results.notes(), f"{counted(len(results.searches), 'search', 'searches')}, each trial in {out}"]
    return View(tables=(summary(results),), notes=tuple(Note(text, "conclusion") for text in told))


def summary(results: Results) -> Table:
    """Return the table of trials until fractions of the best value, and of mean fractions after some trials."""
    columns = (
        Column("searcher", "searcher", kind="text", key=True), Column("objective", "objective", kind="text", key=True),
        Column("searches", "searches", digits="d"),
        *(Column(f"trials_to_{goal:.0%}".rstrip("%"), f"{goal:.0%} of the best", kind="quantiles", digits="g")
          for goal in GOALS),
        *(Column(f"fraction_after_{trials}", f"after {trials}", digits=".3f") for trials in AFTER),
    )  # fmt: skip
    title = (
        f"{results.suite.name}: trials until a fraction of the best as median / p90 / worst (not found), "
        "and mean fraction after some trials"
    )
    return Table("searchers", columns, tuple(_rows(results)), title)


def _rows(results: Results) -> Iterator[Row]:
    for searcher in results.plan.searchers:
        yield Row((searcher, None, *_cells(results, searcher, None)), "total")
        if len(results.plan.objectives) > 1:
            for objective in results.plan.objectives:
                yield Row((searcher, objective, *_cells(results, searcher, objective)))


def _cells(results: Results, searcher: str, objective: str | None) -> list[Cell]:
    searches, budget = results.of(searcher, objective), results.plan.budget
    if not searches:
        return [0, *[None] * (len(GOALS) + len(AFTER))]
    found = [fractions(search.steps, search.best, budget) for search in searches]
    means = [mean_after(found, trials) for trials in AFTER]
    return [len(searches), *(_quantiles(found, goal) for goal in GOALS), *means]


def _quantiles(found: Sequence[np.ndarray], goal: float) -> Quantiles:
    told = trials_over(found, goal)
    return Quantiles(told.median, told.p90, told.worst, told.not_found)
