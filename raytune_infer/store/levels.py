"""Conversion of load levels to and from JSON; only this module knows how they are stored."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from serve_deployments.metrics.distribution import Distribution
from serve_deployments.metrics.level_result import LevelResult
from serve_deployments.metrics.metric_table import LATENCY, METRICS, REQUEST_TIMES, STATISTICS
from serve_deployments.resources.usage import BatchTime, Usage

KEPT_BATCHES = 32
"""Most batches of a usage reading that are stored, evenly spaced: with those of other levels, enough to predict
latencies."""

_PLAIN = {field.name for field in fields(LevelResult)} - {"distributions", "usage", "counts"}


def level_to_json(level: LevelResult) -> dict[str, Any]:
    """Convert a level to a flat dictionary; the statistics of each request time are keyed by their metrics' names."""
    table = {name: value for name, value in asdict(level).items() if name in _PLAIN}
    for name, found in level.distributions.items():
        prefix = REQUEST_TIMES[name].prefix
        table |= {f"{prefix}{statistic}": found.values.get(statistic) for statistic in STATISTICS}
        table[f"{prefix}histogram"] = found.histogram
    return {**table, **level.counts, "usage": None if level.usage is None else usage_to_json(level.usage)}


def level_from_json(table: Mapping[str, Any]) -> LevelResult:
    """Restore a level; fields that an older record lacks get defaults, unknown fields of a newer one are ignored."""
    rest = {name: value for name, value in table.items() if name in _PLAIN}
    rest.setdefault("rate_rps", table["achieved_rps"])
    rest["failed_samples"] = tuple((sample, error) for sample, error in rest.get("failed_samples", ()))
    for name, unknown in _UNKNOWN.items():
        rest.setdefault(name, unknown)
    rest.setdefault("fell_behind", table["overloaded"] and _fell_behind(table))
    usage = table.get("usage")
    distributions = {
        time.name: _distribution(table, time.prefix)
        for time in REQUEST_TIMES.values()
        if time is LATENCY or f"{time.prefix}histogram" in table
    }
    counts = {n: table[n] for n, metric in METRICS.items() if metric.is_in_counts and n in table}
    return LevelResult(
        **rest, distributions=distributions, counts=counts, usage=None if usage is None else usage_from_json(usage)
    )


_UNKNOWN = {
    "concurrency": None, "requested_rps": None, "duration_s": math.nan, "completed": 0, "errors": 0,
    "error_rate": math.nan, "client_cpu_share": math.nan, "client_lag_ms": math.nan, "warmup_s": 0.0,
    "started_at": math.nan, "ended_at": math.nan,
}  # fmt: skip
"""Values for fields that an older record lacks and for which `LevelResult` has no default."""


def _distribution(table: Mapping[str, Any], prefix: str) -> Distribution:
    recorded = {statistic: table.get(f"{prefix}{statistic}") for statistic in STATISTICS}
    values = {statistic: value for statistic, value in recorded.items() if value is not None}
    return Distribution(values, table.get(f"{prefix}histogram"))


def _fell_behind(table: Mapping[str, Any]) -> bool:
    """Whether an open level fell behind, judged by its counts, for older records that did not store it.

    It did if fewer requests were answered or failed than were due, by more than 5 % plus one standard deviation of
    Poisson arrivals. A level that was stopped before the end of its warm-up is never judged so: its queue has yet to
    fill.
    """
    if table["mode"] == "closed" or not table.get("warmup_s", 0.0) > 0:
        return False
    due = table["requested_rps"] * table["duration_s"]
    return bool(due - table["completed"] - table["errors"] > 0.05 * due + math.sqrt(due))


def usage_to_json(usage: Usage) -> dict[str, Any]:
    """Convert a replica's usage reading to a dictionary of plain values with text keys."""
    table = {field.name: getattr(usage, field.name) for field in fields(usage)}
    every = max(1, -(-len(usage.recent) // KEPT_BATCHES))
    kept = [[batch.size, float(f"{batch.seconds:.4g}")] for batch in usage.recent[::every]]
    return {**table, "batches": {str(size): count for size, count in sorted(usage.batches.items())}, "recent": kept}


def usage_from_json(table: Mapping[str, Any]) -> Usage:
    """Restore a usage reading; the inverse of `usage_to_json`."""
    batches = {int(size): count for size, count in table["batches"].items()}
    recent = tuple(BatchTime(*batch) for batch in table.get("recent", ()))
    return Usage(**{**table, "batches": batches, "recent": recent})
