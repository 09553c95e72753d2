"""What people read of a replay: a line a searcher, and one for each objective beneath."""

from __future__ import annotations

from rich.table import Table

from raytune_infer.suites.replays import Results
from searchers.replay import Trials, fractions, mean_after, trials_over

GOALS = (0.9, 0.95, 1.0)
"""Fractions of the best value that trials are counted to."""

AFTER = (5, 10, 30)
"""Trials after which the mean fraction is shown."""


def summary(results: Results) -> Table:
    """Trials until fractions of the best, and the mean fraction after some trials; `–` is not found."""
    table = Table(
        title=f"{results.suite.name}: trials until a fraction of the best as median / p90 / worst (not found), "
        "and mean fraction after some trials",
        title_justify="left",
    )
    table.add_column("searcher", no_wrap=True)
    goals = [f"{goal:.0%} of the best" for goal in GOALS]
    for heading in ("searches", *goals, *(f"after {trials}" for trials in AFTER)):
        table.add_column(heading, justify="right")
    for searcher in results.plan.searchers:
        table.add_row(searcher, *_cells(results, searcher, None), style="bold")
        if len(results.plan.objectives) > 1:
            for objective in results.plan.objectives:
                table.add_row(f"  {objective}", *_cells(results, searcher, objective))
    return table


def _cells(results: Results, searcher: str, objective: str | None) -> list[str]:
    searches, budget = results.of(searcher, objective), results.plan.budget
    if not searches:
        return ["0"]
    found = [fractions(search.steps, search.best, budget) for search in searches]
    means = [mean_after(found, trials) for trials in AFTER]
    return [
        str(len(searches)),
        *(_spelled(trials_over(found, goal)) for goal in GOALS),
        *("–" if mean is None else f"{mean:.3f}" for mean in means),
    ]


def _spelled(trials: Trials) -> str:
    numbers = ("–" if n is None else str(n) for n in (trials.median, trials.p90, trials.worst))
    return f"{' / '.join(numbers)} ({trials.not_found})"
