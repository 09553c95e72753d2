"""What a replica would have shown at a rate that no level had: on straight lines between two levels that were near."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from serve_deployments.metrics.level_result import LevelResult
from serve_deployments.metrics.metric_table import METRICS


def on_log_line(x: float, low: tuple[float, float], high: tuple[float, float]) -> float:
    """The y at x on the straight line of log y over log x through two points.

    Args:
        x: where; all numbers are positive.
        low: a point (x, y).
        high: another one, of another x.
    """
    (low_x, low_y), (high_x, high_y) = low, high
    return low_y * (high_y / low_y) ** (math.log(x / low_x) / math.log(high_x / low_x))


def at_rate(
    rate_rps: float, below: LevelResult, levels: Sequence[LevelResult], at_most: Mapping[str, float]
) -> dict[str, float]:
    """A level's metrics, its latencies those at a higher rate at which limits are just kept.

    Latencies are on lines of log latency over log rate, to the next open level above that kept up; queueing makes them
    convex, so that they are rather too high. None is above its limit, as the rate is where limits are kept.

    Args:
        rate_rps: the rate.
        below: an open level of that rate or less.
        levels: all levels.
        at_most: metric → largest value allowed.
    """
    metrics = {**below.metrics, "rps": rate_rps}
    low_rps = below.requested_rps or math.inf
    kept_up = [level for level in levels if not level.overloaded]
    faster = [level for level in kept_up if (level.requested_rps or 0.0) > max(rate_rps, low_rps)]
    if not faster or rate_rps <= low_rps:
        return metrics
    above = min(faster, key=lambda level: level.requested_rps or 0.0)
    for name, high in above.metrics.items():
        if METRICS[name].time is not None and 0 < (low := metrics.get(name, 0.0)) < high:
            between = on_log_line(rate_rps, (low_rps, low), (above.requested_rps or 0.0, high))
            metrics[name] = max(low, min(between, at_most.get(name, math.inf)))
    return metrics
