"""Panels on a running study: what each shows, and the queries of Prometheus that it shows it by."""

from __future__ import annotations

from dataclasses import dataclass

from raytune_infer.study.monitoring.study_series import (
    BEST_COST_USD,
    BEST_FIGURE,
    BEST_RATE_RPS,
    BUDGET,
    CHANCE_OF_MORE,
    SPENT_USD,
    TRIALS,
)
from serve_deployments.metrics.shown.series import (
    ANSWERED_RPS,
    CLIENTS,
    FAILED_SHARE,
    LATENCY_MS,
    OFFERED_RPS,
    WARM_REPLICAS,
    Series,
)

SELECTED = '{study=~"$study",run=~"$run"}'
"""Selects the study and run that are chosen above the panels; by default all."""

_BY_STUDY = "sum by (study)"
"""Operation by which the levels that run at a time, one in each load actor, are told together."""

_WORST = "max by"
"""Operation by which the worst of the levels that run at a time is told; the labels that stay apart follow it."""


@dataclass(frozen=True)
class Query:
    """One query of a panel.

    Args:
        series: the figure.
        legend: name of each of its lines, with labels in double braces.
        over: operation over all its values, with its labels: "sum by (state)"; empty for the values as they are.
        stacked: whether it is a part of the whole in a panel that stacks its lines; False for one to compare them with.
    """

    series: Series
    legend: str
    over: str = ""
    stacked: bool = True

    @property
    def expression(self) -> str:
        """The query in Prometheus' language."""
        selected = f"{self.series.exported}{SELECTED}"
        return f"{self.over} ({selected})" if self.over else selected


@dataclass(frozen=True)
class Panel:
    """One panel.

    Args:
        title: its title.
        unit: unit of its numbers, by Grafana's name for it.
        queries: what it shows.
        stacked: whether its lines are parts of a whole.
        most: largest number that there can be; None if there is none.
    """

    title: str
    unit: str
    queries: tuple[Query, ...]
    stacked: bool = False
    most: float | None = None

    @property
    def meaning(self) -> str:
        """What it shows, in a sentence for each query."""
        return " ".join(query.series.meaning for query in self.queries)


PANELS = (
    Panel("Best so far: the objective", "none", (Query(BEST_FIGURE, "{{study}}"),)),
    Panel("Best so far: rate", "reqps", (Query(BEST_RATE_RPS, "{{study}}"),)),
    Panel("Best so far: cost of a million requests", "currencyUSD", (Query(BEST_COST_USD, "{{study}}"),)),
    Panel("Chance of more to gain", "percentunit", (Query(CHANCE_OF_MORE, "{{study}}"),), most=1),
    Panel(
        "Trials", "none",
        (Query(TRIALS, "{{state}}", "sum by (state)"), Query(BUDGET, "budget of the search", "sum", stacked=False)),
        stacked=True,
    ),
    Panel("Cost so far", "currencyUSD", (Query(SPENT_USD, "{{study}}"),)),
    Panel(
        "Level of load: requests", "reqps",
        (
            Query(OFFERED_RPS, "sent on schedule, {{study}}", _BY_STUDY),
            Query(ANSWERED_RPS, "answered, {{study}}", _BY_STUDY),
        ),
    ),
    Panel(
        "Level of load: latency", "ms",
        (Query(LATENCY_MS, "p{{percentile}}, {{study}}", f"{_WORST} (study, percentile)"),),
    ),
    Panel(
        "Level of load: failed requests", "percentunit", (Query(FAILED_SHARE, "{{study}}", f"{_WORST} (study)"),),
        most=1,
    ),
    Panel("Level of load: clients that wait for their answers", "none", (Query(CLIENTS, "{{study}}", _BY_STUDY),)),
    Panel("Replicas", "none", (Query(WARM_REPLICAS, "{{state}}", "sum by (state)"),), stacked=True),
)  # fmt: skip
"""Every panel, in reading order."""
