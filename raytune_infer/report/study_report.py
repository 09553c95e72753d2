"""Views of a study: its recommendation at the end, and its trials at any time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from raytune_infer.comparing.blocks import CONFIDENCE
from raytune_infer.comparing.comparison import Comparison
from raytune_infer.report.comparison_report import comparison_view, quantity
from raytune_infer.report.figures import EMULATED, rate, usd_per_million_of
from raytune_infer.report.view import Cell, Column, Emphasis, Note, Row, Table, View
from raytune_infer.report.words.metric_columns import metric_column, shown_metrics
from raytune_infer.report.words.samples import sample_notes
from raytune_infer.report.words.trials import footnotes, state
from raytune_infer.store.records import StudyRecord, TrialRecord
from raytune_infer.study.result import StudyResult
from searchers.objective import Objective


def result_view(result: StudyResult, files: Mapping[str, Path]) -> View:
    """Return the final output of `tune`: the recommendation, the comparison, and the files.

    Args:
        result: the result of a finished study.
        files: description of each file → its path.
    """
    compared = comparison_view(result.comparison, result.objective)
    recommended = View(tables=(recommendation(result),), notes=tuple(map(Note, sample_notes(result.trials))))
    return View(sections=(recommended, compared, View(tables=(_files(result, files),))))


def trials_view(
    study: StudyRecord, trials: Sequence[TrialRecord], best: int | None, comparison: Comparison, objective: Objective
) -> View:
    """Return the output of `show` for a run: its trials, notes on them, and the comparison as far as it has come.

    Args:
        study: the run's study.
        trials: the finished trials.
        best: number of the trial to mark.
        comparison: the final comparison.
        objective: the run's objective.
    """
    searched = sum(t.purpose == "search" for t in trials)
    return View(
        title=study.name,
        subtitle=(
            f"{searched} of {study.trials} trials, searcher {study.searcher}, seed {study.seed}, "
            f"begun {study.created_at:%Y-%m-%d %H:%M} UTC"
        ),
        tables=(trials_table(trials, best, objective),),
        notes=tuple(map(Note, [*footnotes(trials), *sample_notes(trials)])),
        sections=(comparison_view(comparison, objective),),
    )


def recommendation(result: StudyResult) -> Table:
    """Return the best configuration beside the default: the median of their final rounds, and the mean of all."""
    best, default = result.best, result.default
    same = default is not None and default.position == best.position
    named = [("the default" if same else "recommended", best)]
    if default is not None and not same:
        named.append(("default", default))
    rows = []
    for number, (name, trial) in enumerate(named):
        emphasis: Emphasis = "" if number else "best"
        rows.append(Row((name, trial.config, *_measured(trial, result.objective), *_judged(trial, result)), emphasis))
    title = "Recommendation" + (f" ({EMULATED})" if best.emulated else "")
    columns = (
        Column("role", kind="text"), Column("config", kind="config", spread=True),
        *_columns(result.objective), Column("remarks", "remarks", kind="text"),
    )  # fmt: skip
    return Table("recommendation", columns, tuple(rows), title, layout="columns")


def _columns(objective: Objective) -> tuple[Column, ...]:
    """Return the columns of the metrics, with their limits, and of the goal."""
    goal = f"{'least' if objective.minimize else 'most'} {objective.goal.text}, mean of rounds"
    return (
        Column("rate_rps", unit="requests/s", kind="quantity"),
        *(metric_column(name, objective) for name in shown_metrics(objective, _PERCENTILES)),
        Column("error_rate", "failed requests", digits=".2%"),
        Column("usd_per_hour", unit="USD per hour", digits=".4f"),
        Column("usd_per_million_requests", unit="USD per million requests", digits=".4f"),
        Column("figure", f"{goal} ({100 * CONFIDENCE:g} % interval)", kind="quantity"),
    )


_PERCENTILES = ("p50_ms", "p95_ms", "p99_ms")


def _measured(trial: TrialRecord, objective: Objective) -> tuple[Cell, ...]:
    metrics = trial.metrics
    return (
        rate(trial), *(metrics.get(name) for name in shown_metrics(objective, _PERCENTILES)), metrics.get("error_rate"),
        _known(trial.usd_per_hour), usd_per_million_of(trial),
    )  # fmt: skip


def _judged(trial: TrialRecord, result: StudyResult) -> tuple[Cell, Cell]:
    """Return the mean of its rounds, or the remark that it does not count."""
    contestant = result.comparison.of(trial.position)
    if contestant is None or not contestant.counts:
        return None, "does not count"
    return quantity(result.comparison.mean(contestant)), None


def _files(result: StudyResult, files: Mapping[str, Path]) -> Table:
    columns = [Column(what.lower().replace(" ", "_"), what, kind="text") for what in ("prices", *files)]
    return Table("files", tuple(columns), (Row((result.prices, *map(str, files.values()))),), layout="list")


def trials_table(trials: Sequence[TrialRecord], best: int | None, objective: Objective | None = None) -> Table:
    """Return the table of trials, one per row.

    Args:
        trials: the finished trials.
        best: number of the trial to mark.
        objective: the run's objective, whose metrics are shown too; None: those of every study alone.
    """
    shown = shown_metrics(objective, ("p99_ms",))
    columns = (
        Column("trial", digits="d", key=True), Column("config", kind="config", spread=True),
        Column("rate_rps", unit="requests/s", kind="quantity"), *map(metric_column, shown),
        Column("usd_per_million_requests", unit="USD per million"), Column("value", "value"),
        Column("remarks", kind="text"),
    )  # fmt: skip
    rows = [
        Row(
            (t.number, t.config, rate(t), *map(t.metrics.get, shown), usd_per_million_of(t), t.value, state(t)),
            "best" if t.number == best else "",
        )
        for t in trials
    ]
    return Table("trials", columns, tuple(rows))


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
