"""Texts and figures of one trial, shared by all tables and lines."""

from __future__ import annotations

import math
from collections.abc import Iterable

from cluster.prices import usd_per_million
from raytune_infer.report.renderers.cell_text import spelled as spelled
from raytune_infer.report.view import Quantity
from raytune_infer.report.words.metric_columns import metric_column
from raytune_infer.store.records import TrialRecord

EMULATED = "emulated"
"""Mark beside every number that does not come from a real device."""

EMULATED_NOTE = "emulated: the numbers are of a model of the devices, not of devices"
ESTIMATE_NOTE = "~: the precision was not reached in its time; the rate is an estimate"


def marks(trial: TrialRecord) -> str:
    """Return the prefix of a rate: "≥" if the replica can do more, "~" if the precision was not reached."""
    return ("≥ " if trial.outcome.client_limited else "") + ("" if trial.outcome.steady else "~")


def rate(trial: TrialRecord) -> Quantity | None:
    """Return a trial's rate; None if it could not run."""
    if "rps" not in trial.metrics:
        return None
    outcome = trial.outcome
    return Quantity(trial.metrics["rps"], at_least=outcome.client_limited, estimated=not outcome.steady)


def figures(trial: TrialRecord, shown: Iterable[str] = ("p50_ms", "p99_ms")) -> str:
    """Return a trial's rate, other metrics and price on one line.

    Args:
        trial: a trial that could run.
        shown: the metrics to name, those that it has.
    """
    metrics = trial.metrics
    parts = [f"{marks(trial)}{metrics['rps']:.4g} requests/s"]
    columns = [metric_column(name) for name in shown if name in metrics]
    parts += [f"{column.heading} {metrics[column.name]:.3g} {column.unit}".strip() for column in columns]
    if (per_million := usd_per_million_of(trial)) is not None:
        parts.append(f"${per_million:.3g} per million")
    return ", ".join(parts) + (f" [{EMULATED}]" if trial.emulated else "")


def usd_per_million_of(trial: TrialRecord) -> float | None:
    """Return the cost of a million requests in US dollars at a trial's rate; None if rate or price is unknown."""
    rps = trial.metrics.get("rps", 0.0)
    return usd_per_million(trial.usd_per_hour, rps) if rps > 0 and not math.isnan(trial.usd_per_hour) else None
