"""Texts and figures of one trial, shared by all tables and lines."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from cluster.prices import usd_per_million
from raytune_infer.comparing.configuration_result import ConfigurationResult
from raytune_infer.comparing.other_processes import disturbed
from raytune_infer.report.view import Column, Quantity
from raytune_infer.report.words.metric_columns import metric_column
from raytune_infer.report.words.values import number, significant
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


OTHERS_SHARE = Column("others_share", "cores used by other processes", digits=".0%")
"""Column for the share of a replica's cores that other processes used while it needed them (`Usage.others_s`).

It is shown where it is noticeable somewhere."""


def circumstances(*, emulated: bool, alone: bool = False, neighbours: int = 0) -> tuple[str, ...]:
    """Return the marks of a number: on what, and beside what it was measured."""
    beside = (f"beside {neighbours} {'copy' if neighbours == 1 else 'copies'} of itself",) if neighbours else ()
    return (*((EMULATED,) if emulated else ()), *((ALONE,) if alone else ()), *beside)


def others_shares(trials: Sequence[TrialRecord]) -> list[float | None] | None:
    """Return each trial's share of its cores that other processes used; None if none of them is noticeable."""
    return [t.outcome.others_share for t in trials] if disturbed(trials) else None


def marks(trial: TrialRecord) -> str:
    """Return the prefix of a rate: "≥" if the replica may do more, "~" if the precision was not reached."""
    return ("≥ " if _at_least(trial) else "") + ("" if trial.outcome.steady else "~")


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


def legend(rates: Iterable[Quantity | None]) -> list[str]:
    """Return what the marks of rates mean, each that is used once."""
    shown = [rate for rate in rates if rate is not None]
    said = [ESTIMATE_NOTE] if any(rate.estimated for rate in shown) else []
    return said + ([AT_LEAST_NOTE] if any(rate.at_least for rate in shown) else [])


def figures(trial: TrialRecord, shown: Iterable[str] = ("p50_ms", "p99_ms")) -> str:
    """Return a trial's rate, other metrics and price on one line.

    Args:
        trial: a trial that could run.
        shown: the metrics to name, those that it has.
    """
    metrics = trial.metrics
    parts = [f"{marks(trial)}{number(metrics['rps'], *(trial.outcome.interval_rps or (None, None)))} requests/s"]
    columns = [metric_column(name) for name in shown if name in metrics]
    parts += [f"{column.heading} {significant(metrics[column.name], 3)} {column.unit}".strip() for column in columns]
    if (per_million := usd_per_million_of(trial)) is not None:
        parts.append(f"${significant(per_million, 3)} per million")
    marked = [mark for mark, holds in ((EMULATED, trial.emulated), (ALONE, trial.outcome.alone)) if holds]
    return ", ".join(parts) + (f" [{', '.join(marked)}]" if marked else "")


def usd_per_million_of(trial: TrialRecord | ConfigurationResult) -> float | None:
    """Return the cost of a million requests in US dollars at the rate found; None if rate or price is unknown."""
    rps = trial.metrics.get("rps", 0.0)
    return usd_per_million(trial.usd_per_hour, rps) if rps > 0 and not math.isnan(trial.usd_per_hour) else None
