"""Columns for metrics: which ones a study's tables show, and how each is headed."""

from __future__ import annotations

from collections.abc import Iterable

from raytune_infer.report.view import Column
from searchers.objective import Objective
from serve_deployments.metrics.metric_table import METRICS, metric_of

_BESIDE = ("rps", "error_rate")
"""Metrics that tables show in columns of their own."""


def shown_metrics(objective: Objective | None, always: Iterable[str]) -> tuple[str, ...]:
    """Return the metrics to show: those always shown, and those that the objective names, in the order of the table.

    Args:
        objective: the study's goal and limits; None where it is not known.
        always: metrics that are shown whatever the objective is.
    """
    named = set() if objective is None else {*objective.goal.names, *objective.limited} - set(_BESIDE)
    wanted = {*always, *(name for name in named if metric_of(name) is not None)}
    return in_order(wanted)


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Return metrics in the order of the table of all metrics; what is not in it follows by name."""
    order = {name: place for place, name in enumerate(METRICS)}
    return tuple(sorted(names, key=lambda name: (order.get(name, len(order)), name)))


def metric_column(name: str, objective: Objective | None = None, *, digits: str = ".4g") -> Column:
    """Return a metric's column; its unit says the limit on it, if there is one."""
    metric = metric_of(name)
    unit = "" if metric is None else metric.unit
    heading = name.removesuffix(f"_{unit}") if unit else name
    limits = [] if objective is None else [
        f"{word} {bounds[name]:g}"
        for word, bounds in (("limit", objective.at_most), ("at least", objective.at_least))
        if name in bounds
    ]  # fmt: skip
    return Column(name, heading, " ".join([unit, *(f"({limit})" for limit in limits)]).strip(), digits=digits)
