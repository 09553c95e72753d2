"""Views of a study: its recommendation at the end, and its trials at any time."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from raytune_infer.comparing.blocks import CONFIDENCE
from raytune_infer.comparing.comparison import Comparison, Contestant
from raytune_infer.comparing.comparison_schedule import Left
from raytune_infer.comparing.configuration_result import ConfigurationResult, result_of
from raytune_infer.counted import counted
from raytune_infer.report.comparison_report import comparison_view, quantity
from raytune_infer.report.figures import (
    ALONE,
    ALONE_NOTE,
    EMULATED,
    OTHERS_SHARE,
    cost_of,
    legend,
    mean_rate,
    others_shares,
    rate,
)
from raytune_infer.report.view import Cell, Column, Emphasis, Note, Row, Table, View
from raytune_infer.report.words.answers import shown_of, warning
from raytune_infer.report.words.metric_columns import metric_column, shown_metrics
from raytune_infer.report.words.samples import sample_notes
from raytune_infer.report.words.trials import footnotes, state
from raytune_infer.report.words.verdict import answer, answer_so_far, not_taken
from raytune_infer.store.records import StudyRecord, TrialRecord
from raytune_infer.study.result import StudyResult
from searchers.objective import Objective
from serve_deployments.metrics.level_result import TOLERATED_SHARE


def result_view(result: StudyResult, files: Mapping[str, Path]) -> View:
    """Return the final output of `tune`: the recommendation, the comparison, and the files.

    Args:
        result: the result of a finished study.
        files: description of each file → its path.
    """
    compared = comparison_view(result.comparison, result.objective)
    both = [each for each in (result.best, result.default) if each is not None]
    marked = [of(each) for of in (mean_rate, cost_of) for each in both]
    alone = any(each.alone for each in both)
    notes = tuple(map(Note, [*legend(marked), *([ALONE_NOTE] if alone else []), *sample_notes(result.trials)]))
    if told := warning(result.best.answers, "the recommended configuration"):
        notes = (Note(told, "warning"), *notes)
    recommended = View(tables=(recommendation(result),), notes=notes)
    return View(
        answer=answer(result.comparison, result.objective),
        sections=(recommended, compared, View(tables=(_files(result, files),))),
    )


def trials_view(
    study: StudyRecord,
    trials: Sequence[TrialRecord],
    best: ConfigurationResult | None,
    comparison: Comparison,
    objective: Objective,
    left: Left | None = None,
) -> View:
    """Return the output of `show` for a run: its trials, notes on them, and the comparison as far as it has come.

    Args:
        study: the run's study.
        trials: the finished trials.
        best: the configuration to run, whose trials are marked; None if there is none.
        comparison: the final comparison.
        objective: the run's objective.
        left: how far the comparison has come if it is not over; None if it is, or has not begun.
    """
    searched = sum(t.purpose == "search" for t in trials)
    return View(
        title=study.name,
        subtitle=(
            f"{searched} of {counted(study.trials, 'trial')}, searcher {study.searcher}, seed {study.seed}, "
            f"begun {study.created_at:%Y-%m-%d %H:%M} UTC"
        ),
        answer=answer_so_far(best, comparison, objective, left),
        tables=(trials_table(trials, [] if best is None else [t.number for t in best.trials], objective),),
        notes=tuple(map(Note, [*footnotes(trials), *sample_notes(trials)])),
        sections=(comparison_view(comparison, objective),),
    )


def recommendation(result: StudyResult) -> Table:
    """Return the best configuration beside the default, each with its means over the rounds of the comparison."""
    best, default = result.best, result.default
    same = default is not None and default.position == best.position
    named = [("the default" if same else "recommended", best)]
    if default is not None and not same:
        named.append(("default", default))
    if same and (other := _contender(result.comparison)) is not None:
        named.append(("best of the others", result_of(result.comparison, other)))
    told = any((each.others_share or 0.0) >= TOLERATED_SHARE for _, each in named)
    always = (*_PERCENTILES, *shown_of(*(each.metrics for _, each in named)))
    shown = shown_metrics(result.objective, always)
    rows = []
    for number, (name, each) in enumerate(named):
        emphasis: Emphasis = "" if number else "best"
        shares = (each.others_share,) if told else ()
        cells = *_measured(each, shown), *shares, *_judged(each, result)
        rows.append(Row((name, each.config, *cells), emphasis))
    rounds = counted(result.comparison.rounds, "round")
    kind = f"{EMULATED}; " if best.emulated else ""
    title = f"Recommendation ({kind}means of {rounds}, with intervals of {100 * CONFIDENCE:g} %)"
    columns = (
        Column("role", kind="text"), Column("config", kind="config", spread=True),
        *_columns(result.objective, shown), *((OTHERS_SHARE,) if told else ()), *_goal_column(result.objective),
        Column("remarks", "remarks", kind="text"),
    )  # fmt: skip
    return Table("recommendation", columns, tuple(rows), title, layout="columns")


def _contender(comparison: Comparison) -> Contestant | None:
    """Return the best of those that count beside the default."""
    return next((c for c in comparison.counting if c.position != comparison.default), None)


def _columns(objective: Objective, shown: Sequence[str]) -> tuple[Column, ...]:
    """Return the columns of the metrics, with their limits, and of the price."""
    return (
        Column("rate_rps", unit="requests/s", kind="quantity"),
        *(metric_column(name, objective) for name in shown),
        Column("error_rate", "failed requests", digits=".2%"),
        Column("usd_per_hour", unit="USD per hour", digits=".4f"),
        Column("usd_per_million_requests", unit="USD per million requests", kind="quantity", digits=".4f"),
    )


def _goal_column(objective: Objective) -> tuple[Column, ...]:
    """Return the column of the goal's figure; none if the goal is the rate, which has a column of its own."""
    if objective.goal.text == "rps":
        return ()
    return (Column("figure", f"{'least' if objective.minimize else 'most'} {objective.goal.text}", kind="quantity"),)


_PERCENTILES = ("p50_ms", "p95_ms", "p99_ms")


def _measured(of: ConfigurationResult, shown: Sequence[str]) -> tuple[Cell, ...]:
    metrics = of.metrics
    return (
        mean_rate(of), *map(metrics.get, shown), metrics.get("error_rate"), _known(of.usd_per_hour),
        cost_of(of),
    )  # fmt: skip


def _judged(of: ConfigurationResult, result: StudyResult) -> tuple[Cell, ...]:
    """Return the goal's mean, if it has a column, and remarks: that the configuration does not count, or was alone."""
    contestant = result.comparison.of(of.position)
    counts = contestant is not None and contestant.counts
    figure = quantity(result.comparison.mean(contestant)) if contestant is not None and counts else None
    said = [*([] if counts else ["does not count"]), *([ALONE] if of.alone else [])]
    if (
        contestant is not None
        and contestant is not result.comparison.recommended is result.comparison.default_that_counts
    ):
        said += [not_taken(result.comparison, contestant)] if counts else []
    return *((figure,) if _goal_column(result.objective) else ()), ", ".join(said) or None


def _files(result: StudyResult, files: Mapping[str, Path]) -> Table:
    columns = [Column(what.lower().replace(" ", "_"), what, kind="text") for what in ("prices", *files)]
    return Table("files", tuple(columns), (Row((result.prices, *map(str, files.values()))),), layout="list")


def trials_table(
    trials: Sequence[TrialRecord], best: Collection[int] = (), objective: Objective | None = None
) -> Table:
    """Return the table of trials, one per row.

    Args:
        trials: the finished trials.
        best: numbers of the trials to mark.
        objective: the run's objective, whose metrics are shown too; None: those of every study alone.
    """
    shown = shown_metrics(objective, ("p99_ms",))
    shares = others_shares(trials)
    columns = (
        Column("trial", digits="d", key=True), Column("config", kind="config", spread=True),
        Column("rate_rps", unit="requests/s", kind="quantity"), *map(metric_column, shown),
        Column("usd_per_million_requests", unit="USD per million", kind="quantity"), Column("value", "value"),
        *(() if shares is None else (OTHERS_SHARE,)),
        Column("remarks", kind="text"),
    )  # fmt: skip
    rows = [
        Row(
            (
                t.number, t.config, rate(t), *map(t.metrics.get, shown), cost_of(t), t.value,
                *(() if shares is None else (shares[at],)), state(t),
            ),
            "best" if t.number in best else "",
        )
        for at, t in enumerate(trials)
    ]  # fmt: skip
    return Table("trials", columns, tuple(rows))


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
