"""Evidence of a stored level on any limit, also on one that it was not measured under.

A level keeps its histograms, so the requests above any limit can be counted; but not the order of its requests, so how
many of them count as one independent request is not known of each level and has to be given.
"""

from __future__ import annotations

import math

from serve_deployments.measuring.statistics.limit_verdict import LimitEvidence, allowed_share
from serve_deployments.metrics.level_result import LevelResult
from serve_deployments.metrics.metric_table import Metric, metric_of


def level_evidence(level: LevelResult, name: str, limit: float, effect: float) -> LimitEvidence | None:
    """Return what a level shows of a limit; None if nothing.

    For every level, a looser limit gives evidence of a higher rate, or the same.

    Args:
        level: an open level.
        name: a metric of which lower is better.
        limit: largest value allowed, in ms or as a share.
        effect: number of requests that count as one independent request.
    """
    metric = metric_of(name)
    if metric is None:
        return None
    share = allowed_share(metric)
    if metric.time is None or share is None:
        return _of_ratio(level, metric, limit, effect)
    above = _above(level, metric, limit)
    if above is None:
        return None
    certain = metric.share_above == 0 and above > 0
    return LimitEvidence(share=share, above=above, count=float(level.completed), effect=effect, certain=certain)


def _above(level: LevelResult, metric: Metric, limit_ms: float) -> float | None:
    """Number of requests above a limit on a percentile or the maximum; None where it is not known."""
    if not level.completed:
        return None
    if (counted := level.above(metric.name, limit_ms)) is not None:
        return float(counted)
    if (value_ms := level.value(metric.name)) is None:
        return None
    if not metric.share_above:
        return float(value_ms > limit_ms)
    # Without a histogram, only where the percentile is: the tail of an M/M/1 queue is exponential.
    return level.completed * metric.share_above ** (limit_ms / value_ms) if value_ms > 0 else 0.0


def _of_ratio(level: LevelResult, metric: Metric, limit: float, effect: float) -> LimitEvidence | None:
    """Evidence on a mean, or on a share of all requests, by its ratio to the limit."""
    value, ended = level.value(metric.name), level.completed + level.errors
    if value is None or not ended:
        return None
    # Half a request more, as a share of none has no logarithm; times are as uncertain as exponential ones.
    counted = float(ended) if metric.time is not None else value * ended + 0.5
    value = value if metric.time is not None else counted / (ended + 1)
    if not limit > 0:
        return LimitEvidence(certain=True) if level.value(metric.name) else None
    return LimitEvidence(log_ratio=math.log(value / limit), error=math.sqrt(effect / counted)) if value > 0 else None
