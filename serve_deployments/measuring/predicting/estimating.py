"""Estimates the metrics at a rate that was not measured, by interpolation between the two nearest levels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from serve_deployments.measuring.slo import largest_within
from serve_deployments.metrics.level_result import LevelResult
from serve_deployments.metrics.metric_table import metric_of


def on_log_line(x: float, low: tuple[float, float], high: tuple[float, float]) -> float:
    """The y at x on the straight line of log y over log x through two points. All numbers are positive.

    Args:
        x: where to evaluate the line.
        low: a point (x, y).
        high: another point, with another x.
    """
    (low_x, low_y), (high_x, high_y) = low, high
    # Differences of logarithms, as a ratio of a share to one of hardly anything is no number.
    part = (math.log(x) - math.log(low_x)) / (math.log(high_x) - math.log(low_x))
    return low_y * (high_y / low_y) ** part


def at_other_rate(metrics: Mapping[str, float], from_rps: float, to_rps: float) -> dict[str, float]:
    """A level's metrics, with what it counts per second in proportion to the rate.

    Args:
        metrics: metric → value.
        from_rps: the level's rate; of 0, nothing is known at another one.
        to_rps: the other rate.
    """
    scale = to_rps / from_rps if from_rps > 0 else 1.0
    per_second = {name for name in metrics if (metric := metric_of(name)) is not None and metric.is_per_second}
    return {name: value * scale if name in per_second else value for name, value in metrics.items()}


def at_rate(
    rate_rps: float, below: LevelResult, levels: Sequence[LevelResult], at_most: Mapping[str, float]
) -> dict[str, float]:
    """A level's metrics, with the latencies estimated at a higher rate at which the limits are just kept.

    Latencies are interpolated linearly in log latency over log rate, up to the next faster open level that kept up.
    Queueing makes the true curve convex, so the estimates are rather too high. None exceeds what the limits allow, as
    they are kept at this rate: with the p99 at its limit, the p95 is not above it either.

    Args:
        rate_rps: the rate.
        below: an open level, usually of that rate or less; of a higher rate, only its `rps` is replaced.
        levels: all levels.
        at_most: metric → largest value allowed.
    """
    metrics = {**at_other_rate(below.with_metrics(at_most), below.rate_rps, rate_rps), "rps": rate_rps}
    low_rps = below.requested_rps or math.inf
    kept_up = [level for level in levels if not level.overloaded]
    faster = [level for level in kept_up if (level.requested_rps or 0.0) > max(rate_rps, low_rps)]
    if not faster or rate_rps <= low_rps:
        return metrics
    above = min(faster, key=lambda level: level.requested_rps or 0.0)
    for name, high in above.with_metrics(at_most).items():
        metric = metric_of(name)
        if metric is not None and metric.time is not None and 0 < (low := metrics.get(name, 0.0)) < high:
            between = on_log_line(rate_rps, (low_rps, low), (above.requested_rps or 0.0, high))
            metrics[name] = max(low, min(between, largest_within(name, at_most)))
    return metrics
