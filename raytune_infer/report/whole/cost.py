"""Requests per second against the price of a replica, and which configurations nothing beats in both."""

from __future__ import annotations

import math
from collections.abc import Sequence

from raytune_infer.counted import by_number
from raytune_infer.ranking.ranked import Ranked
from raytune_infer.report.chart import Axis, Chart, Dot, Series, SeriesKind
from raytune_infer.report.level_figures import cost, rate
from raytune_infer.report.view import Column, Note, Row, Table, View
from raytune_infer.report.whole.run_facts import RunFacts
from raytune_infer.report.words.values import spelled
from raytune_infer.store.records import TrialRecord

_TITLE = "Rate against cost"


def cost_view(facts: RunFacts) -> View:
    """Return rate against price with the Pareto front, as a chart and as a table of the front."""
    found = facts.ranking
    shown = [] if found is None else [r for r in found.ranked if not math.isnan(r.usd_per_hour) and rate(r) is not None]
    if not shown:
        return View(_TITLE, notes=(Note("No configuration counts whose price and rate are known.", "warning"),))
    front = pareto([(r.usd_per_hour, _rps(r)) for r in shown])
    return View(
        _TITLE,
        charts=(_chart(facts, shown, front),),
        tables=(_table([shown[at] for at in front]),),
        notes=(
            Note(
                "Read the table from the top: for a load up to the rate in a line, one replica of its configuration is "
                "the cheapest that was measured."
            ),
        ),
    )


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the indices of the points (price, rate) than which none is cheaper and as fast, the cheapest first."""
    front: list[int] = []
    for at in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if not front or points[at][1] > points[front[-1]][1]:
            front.append(at)
    return front


def _rps(r: Ranked) -> float:
    found = rate(r)
    assert found is not None, "only those with a rate are shown"
    return found.value


def _chart(facts: RunFacts, shown: Sequence[Ranked], front: Sequence[int]) -> Chart:
    found = facts.ranking
    assert found is not None, "something is shown"
    best = found.best
    on_front = tuple(_dot(shown[at]) for at in front)
    rest = tuple(_dot(r) for at, r in enumerate(shown) if at not in front)
    default = tuple(_dot(r) for r in shown if _is_default(r, facts.trials, facts.comparison.default))
    answer = () if best is None or best not in shown else (_dot(best),)
    named: tuple[tuple[str, SeriesKind, tuple[Dot, ...]], ...] = (
        ("Pareto front", "line", on_front), ("other configurations", "measured", rest),
        ("default", "default", default), ("recommended", "best", answer),
    )  # fmt: skip
    caption = (
        f"Each mark is a configuration that keeps the limits ({len(shown)} of them), with the interval of its rate; "
        f"{len(front)} {by_number(len(front), 'is', 'are')} on the front: nothing that was measured is cheaper "
        "and as fast."
    )
    series = tuple(Series(name, kind, dots) for name, kind, dots in named if dots)
    return Chart("cost", "Requests/s against price", caption, Axis("price", "USD per hour"), Axis("rate", "requests/s"),
                 series)  # fmt: skip


def _dot(r: Ranked) -> Dot:
    found = rate(r)
    assert found is not None, "only those with a rate are shown"
    return Dot(r.usd_per_hour, found, spelled(r.config))


def _is_default(r: Ranked, trials: Sequence[TrialRecord], default: int | None) -> bool:
    return any(t.number in r.trials and t.position == default for t in trials)


def _table(front: Sequence[Ranked]) -> Table:
    columns = (
        Column("rate_rps", "load up to", "requests/s", kind="quantity"), Column("usd_per_hour", "", "USD per hour"),
        Column("usd_per_million_requests", "", "USD per million requests", kind="quantity"),
        Column("config", "configuration", kind="config", key=True),
    )  # fmt: skip
    rows = [Row((rate(r), r.usd_per_hour, cost(r), r.config)) for r in front]
    return Table("pareto", columns, tuple(rows), "Nothing that was measured beats these in both price and rate")
