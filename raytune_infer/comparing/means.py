"""The mean of a metric over the rounds of a comparison: one rule for all figures of a configuration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from serve_deployments.metrics.metric_table import metric_of


def mean_over_rounds(name: str, values: Sequence[float]) -> float:
    """Return the mean of a metric: of shares the arithmetic, of rates and times the geometric.

    Rates and times are multiplied by the machine's speed; a share may be 0.

    Args:
        name: name of the metric.
        values: one value of each round; NaN where it is not known.

    Returns:
        The mean; NaN of no value, or where one is not known.
    """
    if not values or any(map(math.isnan, values)):
        return math.nan
    if is_share(name) or min(values) <= 0:
        return fmean(values)
    return math.exp(fmean(map(math.log, values)))


def is_share(name: str) -> bool:
    """Return whether a metric is a share of requests or answers, which the machine's speed does not multiply."""
    metric = metric_of(name)
    return metric is not None and metric.unit == ""
