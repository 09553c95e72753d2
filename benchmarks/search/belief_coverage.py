"""Coverage of the default searcher's posterior: how often true values lie in its central intervals.

    python -m benchmarks belief_coverage SUITE... [--after 0 1 3 5 10]

After some trials of its own search on a task that it never saw, the searcher has a posterior of every metric of every
configuration. Of the configurations that are not measured yet and can run, half should lie in the central 50 %
interval, and so on. More means that the posterior is too wide, fewer that it is too narrow. The trials are those that
the search chose, so the remaining configurations are those that it did not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from benchmarks.recording.origin import Origin
from benchmarks.recording.sections import markdown, put
from benchmarks.search.replaying.conditions import keep
from benchmarks.search.replaying.found import by_suite
from benchmarks.search.replaying.processes import parts_of_all
from benchmarks.search.replaying.suite_arguments import plans_of, suite_parser_of
from raytune_infer.suites.replays import Plan, Unit
from raytune_infer.suites.suites import Suite
from searchers.base import History, Observation
from searchers.meta.meta import Meta
from searchers.meta.metric_model import MetricModel, metric_model_of
from searchers.replay import MeasuredTable, replay

SHARES = (0.5, 0.8, 0.95)
SAMPLES = 1000
"""Samples of the posterior: a share of 95 % is then known to 0.7 %. Our choice."""
COLUMNS = ("suite", "objective", "task", "seed", "metric", "trials", *SHARES, "width")


def inside(samples: np.ndarray, truth: np.ndarray, share: float) -> float:
    """The share of `[n]` true values in the central interval, of mass `share`, of their column of `[S, n]` samples."""
    low, high = np.quantile(samples, ((1 - share) / 2, (1 + share) / 2), axis=0)
    return float(((low <= truth) & (truth <= high)).mean())


def histories(table: MeasuredTable, searcher: Meta, after: Sequence[int], plan: Plan, seed: int) -> Iterator[History]:
    """The history of the searcher's own search after each of these numbers of trials that the search reaches."""
    history, budget = History(), max(1, min(plan.budget, max(after)))
    if 0 in after:
        yield history
    for trial, step in enumerate(replay(table, searcher, budget=budget, seed=seed), start=1):
        history = history.observe(step.position, table.metrics[step.position])
        if trial in after:
            yield history


def figures(
    samples: Mapping[str, np.ndarray], metric_model: MetricModel, table: MeasuredTable, history: History
) -> Iterator[tuple[str, list[float]]]:
    """For each metric the shares within the intervals, and the median width of the 80 % interval in e-folds."""
    unseen = [Observation(p, m) for p, m in enumerate(table.metrics) if p not in history.taken]
    rng = np.random.default_rng(0)
    for metric in metric_model.metrics:
        at, truth = metric_model.measured(unseen, metric)
        if len(at):
            # The table was measured too, so its noise must be in the samples that it is compared with.
            drawn = samples[metric][:, at]
            drawn = drawn + table.problem.noise * rng.standard_normal(drawn.shape)
            low, high = np.quantile(drawn, (0.1, 0.9), axis=0)
            yield metric, [*(inside(drawn, truth, share) for share in SHARES), float(np.median(high - low))]


def rows_of(suite: Suite, plan: Plan, unit: Unit, after: Sequence[int]) -> Iterator[pd.DataFrame]:
    """The rows of each search of a unit, one per metric and number of trials."""
    for objective in plan.objectives:
        for task in unit.tasks:
            table = suite.table(task, objective)
            for seed in range(plan.seeds):
                searcher, (metric_model, _) = Meta(table.problem, samples=SAMPLES), metric_model_of(table.problem)
                rows = [
                    (suite.name, objective, task, seed, metric, len(history.observed), *shares)
                    for history in histories(table, searcher, after, plan, seed)
                    for metric, shares in figures(searcher.drawn(history), metric_model, table, history)
                ]
                yield pd.DataFrame(rows, columns=COLUMNS)


def body(rows: pd.DataFrame) -> str:
    """The text of the section of results."""
    parts = [
        "The share of configurations, not measured yet and able to run, whose metric lies in the central interval of "
        "what the default searcher believes after so many trials of its own; means over searches. Width: the factor "
        "between the ends of the interval of 80 %, median over configurations and searches."
    ]
    return "\n\n".join([*parts, *by_suite(rows, _table)])


def _table(rows: pd.DataFrame) -> str:
    header = ("metric", "trials", "searches", *(f"in {share:.0%}" for share in SHARES), "width")
    lines = [
        [str(metric), str(trials), str(len(one)), *(f"{one[share].mean():.2f}" for share in SHARES),
         f"× {np.exp(one['width'].median()):.3g}"]
        for (metric, trials), one in rows.groupby(["metric", "trials"])
    ]  # fmt: skip
    return markdown(header, lines)


def main(arguments: Sequence[str]) -> None:
    parser = suite_parser_of(__name__, __doc__, None)
    parser.add_argument("--after", nargs="+", type=int, default=[0, 1, 3, 5, 10], help="trials")
    asked = parser.parse_args(arguments)
    parts = parts_of_all(rows_of, plans_of(asked, ["meta"]), asked.after, asked.jobs)
    rows = pd.concat(parts, ignore_index=True)
    rows = rows.sort_values(["suite", "objective", "task", "seed", "metric", "trials"], ignore_index=True)
    print(keep(rows, "belief_coverage"))
    suites = ", ".join(dict.fromkeys(rows["suite"]))
    heading = f"Coverage of beliefs: {suites} (seeds: {asked.seeds})"
    put(asked.out, heading, Origin.here(__name__, arguments), body(rows))
