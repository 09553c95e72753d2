"""View of the ranking of `recommend`, including what is not known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from raytune_infer.ranking.ranked import Ranked
from raytune_infer.ranking.recommendation import Recommendation
from raytune_infer.report.figures import ALONE, EMULATED
from raytune_infer.report.level_figures import (
    cost,
    latency_charts,
    latency_ms,
    latency_names,
    rate,
    told_usage,
    usage,
)
from raytune_infer.report.view import Cell, Column, Emphasis, Note, Quantity, Row, Table, View
from raytune_infer.report.words.answers import differ_briefly, shown_of, warning
from raytune_infer.report.words.metric_columns import metric_column
from raytune_infer.report.words.ranked import answer, asked, never_loaded, notes, trials_needed, why_not
from raytune_infer.report.words.verdict import on_other_work
from serve_deployments.metrics.metric_table import ANSWER_METRICS

_USAGE = (
    Column("model_busy", "model busy", digits=".0%"),
    Column("mean_batch", "batch", digits=".1f"),
    Column("cpu_cores_used", unit="cores", digits=".2f"),
    Column("gpu_utilisation", "GPU", digits=".0%"),
)


def recommendation_view(found: Recommendation) -> View:
    """Return the objective, the ranking, notes on it, the trials that could change it, and the charts."""
    opening, *needed = trials_needed(found)
    told = None if found.comparison is None else on_other_work(found.comparison)
    machine = [] if told is None else [Note(told, "warning")]
    return View(
        title=asked(found),
        answer=answer(found),
        subtitle=f"(prices: {found.prices})",
        tables=(ranking_table(found),),
        notes=(
            *machine,
            *_warnings(found),
            *map(Note, notes(found)),
            Note(opening, "conclusion"),
            *map(Note, needed),
        ),  # fmt: skip
        charts=latency_charts(found),
    )


def ranking_table(found: Recommendation) -> Table:
    """Return the ranking, one configuration per row: those that count, then the others with the reason."""
    everything = (*found.ranked, *found.others)
    used, names = told_usage(found), latency_names(found)
    answers = _answer_metrics(found)
    columns = [
        Column("place", digits="d", key=True),
        Column("config", "configuration", kind="config", key=True),
        Column("rate_rps", unit="requests/s", kind="quantity"),
        Column("below_rps", "could be <", "requests/s"),
        Column("estimate_rps", "could be ≈", "requests/s", kind="quantity"),
        Column("remarks", "remarks", kind="text"),
        *(Column(name, name.removesuffix("_ms"), "ms") for name in names),
        *map(metric_column, answers),
        *(_USAGE if used else ()),
        Column("usd_per_hour", unit="USD/hour"),
        Column("usd_per_million_requests", unit="USD per million", kind="quantity"),
        Column("figure", found.objective.goal.text),
    ]
    rows = [
        Row(_cells(found, r, place, names, answers, used), _emphasis(found, r))
        for place, r in enumerate(everything, start=1)
    ]
    return Table("ranking", tuple(columns), tuple(rows), title=EMULATED if any(r.emulated for r in everything) else "")


def _cells(
    found: Recommendation, r: Ranked, place: int, names: Sequence[str], answers: Sequence[str], used: bool
) -> tuple[Cell, ...]:
    return (
        None if r.value is None else place, r.config, rate(r), *possible(r), remarks(found, r),
        *(latency_ms(r, name) for name in names), *map(_answered(r).get, answers),
        *(usage(r) if used else ()), _known(r.usd_per_hour), cost(r), _known(r.figure),
    )  # fmt: skip


def _answered(r: Ranked) -> Mapping[str, float]:
    return {} if r.answers is None else r.answers.figures


def _answer_metrics(found: Recommendation) -> tuple[str, ...]:
    """Return the metrics of answers to show: those that any configuration has, and those that the objective names."""
    named = {*found.objective.goal.names, *found.objective.limited}
    shown = {*shown_of(*map(_answered, (*found.ranked, *found.others))), *named.intersection(ANSWER_METRICS)}
    return tuple(name for name in ANSWER_METRICS if name in shown)


def _warnings(found: Recommendation) -> list[Note]:
    told = None if found.best is None else warning(found.best.answers, "the first configuration")
    return [Note(each, "warning") for each in (told, never_loaded(found)) if each is not None]


def possible(r: Ranked) -> tuple[float | None, Quantity | None]:
    """Return the upper bound of the rate and the estimate of where the limit is crossed; None where unknown."""
    known = r.known
    if known.resolved or known.estimate_rps is None:
        return None if known.resolved else _known(known.at_most_rps), None
    return _known(known.at_most_rps), Quantity(known.estimate_rps, *(known.estimate_interval_rps or (None, None)))


def remarks(found: Recommendation, r: Ranked) -> str | None:
    """Return the remarks on a configuration: no bound, why it does not count, how answers differ, if it was alone."""
    unbounded = not r.known.resolved and math.isinf(r.known.at_most_rps)
    said = ["no bound"] if unbounded else []
    said += [] if r.value is not None else [why_not(found, r)]
    said += [] if (differ := differ_briefly(r.answers)) is None else [differ]
    said += [ALONE] if r.alone and r.known.level is not None else []
    return ", ".join(said) or None


def _emphasis(found: Recommendation, r: Ranked) -> Emphasis:
    if r is found.best:
        return "best"
    return "doubtful" if r.value is None else ""


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
