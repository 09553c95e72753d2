"""Texts and figures of one trial, shared by all tables and lines."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from cluster.prices import usd_per_million
from raytune_infer.comparing.configuration_result import ConfigurationResult
from raytune_infer.comparing.other_processes import disturbed
from raytune_infer.counted import counted
from raytune_infer.report.view import Column, Quantity
from raytune_infer.report.words.metric_columns import metric_column
from raytune_infer.report.words.values import quantity_text, significant
from raytune_infer.store.records import TrialRecord

EMULATED = "emulated"
"""Mark beside every number that does not come from a real device."""

ALONE = "measured alone"
"""Mark beside every number of a replica that pays for a part of a GPU and had it to itself."""

ALONE_NOTE = (
    "measured alone: it pays for a part of a GPU and had all of its caches and bandwidth; among others it is slower, "
    "as the final comparison measures it"
)

EMULATED_NOTE = "emulated: the numbers are of a model of the devices, not of devices"
ESTIMATE_NOTE = "~: the precision was not reached in its time; the rate is an estimate"
AT_LEAST_NOTE = "≥: the load generator was a bottleneck, the replica may do more"
AT_MOST_NOTE = "≤: the cost at a rate that may be higher; the cost is then less"


OTHERS_SHARE = Column("others_share", "cores used by other processes", digits=".0%")
"""Column for the share of a replica's cores that other processes used while it needed them (`Usage.others_s`).

It is shown where it is noticeable somewhere."""


def circumstances(*, emulated: bool, alone: bool = False, neighbours: int = 0) -> tuple[str, ...]:
    """Return the marks of a number: on what, and beside what it was measured."""
    beside = (f"beside {counted(neighbours, 'copy', 'copies')} of itself",) if neighbours else ()
    return (*((EMULATED,) if emulated else ()), *((ALONE,) if alone else ()), *beside)


def others_shares(trials: Sequence[TrialRecord]) -> list[float | None] | None:
    """Return each trial's share of its cores that other processes used; None if none of them is noticeable."""
    return [t.outcome.others_share for t in trials] if disturbed(trials) else None


def _at_least(trial: TrialRecord) -> bool:
    """Return whether a trial's rate is a lower bound; a part of a GPU alone has none: it does less among others."""
    return trial.outcome.client_limited and not trial.outcome.alone


def rate(trial: TrialRecord) -> Quantity | None:
    """Return a trial's rate; None if it could not run."""
    if "rps" not in trial.metrics:
        return None
    outcome = trial.outcome
    low, high = outcome.interval_rps or (None, None)
    return Quantity(trial.metrics["rps"], low, high, at_least=_at_least(trial), estimated=not outcome.steady)


def mean_rate(of: ConfigurationResult) -> Quantity | None:
    """Return a configuration's mean rate with its interval; None if it could not run."""
    if "rps" not in of.metrics:
        return None
    low, high = of.interval_rps or (None, None)
    return Quantity(of.metrics["rps"], low, high, at_least=of.client_limited and not of.alone, estimated=of.estimated)


def legend(quantities: Iterable[Quantity | None]) -> list[str]:
    """Return what the marks of rates and costs mean, each that is used once."""
    shown = [each for each in quantities if each is not None]
    said = [ESTIMATE_NOTE] if any(each.estimated for each in shown) else []
    said += [AT_LEAST_NOTE] if any(each.at_least for each in shown) else []
    return said + ([AT_MOST_NOTE] if any(each.at_most for each in shown) else [])


def figures(trial: TrialRecord, shown: Iterable[str] = ("p50_ms", "p99_ms")) -> str:
    """Return a trial's rate, other metrics and price on one line.

    Args:
        trial: a trial that could run.
        shown: the metrics to name, those that it has.
    """
    metrics = trial.metrics
    parts = [] if (found := rate(trial)) is None else [f"{quantity_text(found)} requests/s"]
    columns = [metric_column(name) for name in shown if name in metrics]
    parts += [f"{column.heading} {significant(metrics[column.name], 3)} {column.unit}".strip() for column in columns]
    if (cost := cost_of(trial)) is not None:
        parts.append(f"{quantity_text(cost, '.3g', '$')} per million")
    marked = [mark for mark, holds in ((EMULATED, trial.emulated), (ALONE, trial.outcome.alone)) if holds]
    return ", ".join(parts) + (f" [{', '.join(marked)}]" if marked else "")


def cost_of(of: TrialRecord | ConfigurationResult) -> Quantity | None:
    """Return what a million requests cost at the rate found, in US dollars; None if rate or price is unknown."""
    return cost_per_million(rate(of) if isinstance(of, TrialRecord) else mean_rate(of), of.usd_per_hour)


def cost_per_million(rate: Quantity | None, usd_per_hour: float) -> Quantity | None:
    """Return what a million requests cost at a rate, in US dollars, with the interval that follows from the rate's.

    The highest rate gives the lowest cost, so what is at least a rate is at most a cost. A price is exact.

    Args:
        rate: the rate in requests per second; None where unknown.
        usd_per_hour: price of the replica; NaN where unknown.

    Returns:
        The cost; None if rate or price is unknown. A rate whose interval reaches down to 0 gives no highest cost:
        the cost is an estimate without an interval.
    """
    if rate is None or not rate.value > 0 or math.isnan(usd_per_hour):
        return None
    cost = usd_per_million(usd_per_hour, rate.value)
    if rate.low is None or rate.high is None:
        return Quantity(cost, estimated=rate.estimated, at_most=rate.at_least)
    if not rate.low > 0:
        return Quantity(cost, estimated=True, at_most=rate.at_least)
    low, high = (usd_per_million(usd_per_hour, rps) for rps in (rate.high, rate.low))
    return Quantity(cost, low, high, estimated=rate.estimated, at_most=rate.at_least)
