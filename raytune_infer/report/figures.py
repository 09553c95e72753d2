"""One trial in words and figures, as every table and line shows it."""

from __future__ import annotations

import math
from collections.abc import Mapping

from cluster.prices import usd_per_million
from raytune_infer.store.records import TrialRecord

EMULATED = "emulated"
"""Stands beside every number that no real device gave."""

EMULATED_NOTE = "emulated: the numbers are of a model of the devices, not of devices"
ESTIMATE_NOTE = "~: the precision was not reached in its time; the rate is an estimate"


def spelled(config: Mapping[str, object]) -> str:
    """A configuration on one line."""
    return "  ".join(f"{name}={value}" for name, value in config.items())


def marks(trial: TrialRecord) -> str:
    """What stands before a rate: "≥" if the replica can do more, "~" if its precision was not reached."""
    return ("≥ " if trial.outcome.client_limited else "") + ("" if trial.outcome.steady else "~")


def figures(trial: TrialRecord) -> str:
    """A trial's rate, latencies and price on one line."""
    metrics = trial.metrics
    parts = [f"{marks(trial)}{metrics['rps']:.4g} requests/s"]
    if "p99_ms" in metrics:
        parts.append(f"p50 {metrics['p50_ms']:.3g} ms, p99 {metrics['p99_ms']:.3g} ms")
    if (per_million := usd_per_million_of(trial)) is not None:
        parts.append(f"${per_million:.3g} per million")
    return ", ".join(parts) + (f" [{EMULATED}]".replace("[", "\\[") if trial.emulated else "")


def usd_per_million_of(trial: TrialRecord) -> float | None:
    """What a million requests cost by a trial's rate and price; None where either is not known."""
    rps = trial.metrics.get("rps", 0.0)
    return usd_per_million(trial.usd_per_hour, rps) if rps > 0 and not math.isnan(trial.usd_per_hour) else None
