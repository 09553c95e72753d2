"""Sequential test of whether a limit is kept, with an error of 5 % however often it is checked.

Wald's sequential probability ratio test (Annals of Mathematical Statistics 16, 1945) of "a little below the limit"
against "a little above": a log-likelihood ratio of log(19), for errors of 5 % either way, ends it. It may be checked
after each request. In the zone between the two hypotheses either answer is right; there the test takes longest, but it
ends.

Requests are not independent, so the likelihood of n of them is that of n / D independent ones, where D, the design
effect, is the factor by which correlation increases the variance according to batch means (quasi-likelihood: McCullagh
and Nelder, Generalized Linear Models, section 4.5).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from serve_deployments.measuring.statistics import interval
from serve_deployments.metrics.metric_table import Metric, metric_of
from serve_deployments.metrics.request_record import Requests

SURE = math.log(0.95 / 0.05)
"""Wald's bound of the log-likelihood ratio, for errors of 5 % on either side."""

_ZONE = 2.5
"""Factor on the odds of a share that gives the two hypotheses, below and above it. Our choice: the tail of an M/M/1
queue is exp(-(capacity - rate) x limit), so 2.5 times as many slow requests around a p99 are a fifth of the spare
capacity: at four fifths of the capacity 5 % of the rate, which is the default precision of the search."""

_AS_A_TAIL = 0.01
"""Share used for a limit that no request may exceed, which can never be shown: it needs as many requests as a p99. Our
choice."""

_MOST_MEMORY = 0.98  # largest correlation of neighbours; our choice: a memory of a hundred requests
_SLOWEST = 0.1  # share of the slowest requests whose correlation replaces that of those above a limit, if these are few
_LEAST_ERROR = 1e-3  # least relative error of a mean: clocks are not more exact (our choice)
_SEEN = 10  # our choice: batch means of fewer requests say nothing


@dataclass(frozen=True)
class LimitEvidence:
    """Evidence from requests on one limit.

    Args:
        share: share of requests that may be above the limit; None if the limit is on the mean.
        above: number of requests above the limit.
        count: number of requests in all.
        effect: design effect D: the number of requests that count as one independent request.
        certain: whether the limit is certainly broken: no request may be above it, and one was.
        log_ratio: for a limit on the mean, logarithm of mean over limit.
        error: standard error of `log_ratio`.
    """

    share: float | None = None
    above: float = 0.0
    count: float = 0.0
    effect: float = 1.0
    certain: bool = False
    log_ratio: float = 0.0
    error: float = math.inf

    @property
    def holds(self) -> bool:
        """Whether the observed share or mean keeps the limit, without regard to significance."""
        if self.certain:
            return False
        return self.log_ratio <= 0 if self.share is None else self.above <= self.share * self.count

    def kept(self, precision: float) -> bool | None:
        """Whether the limit is kept; None while that is undecided.

        Args:
            precision: half the width of the zone around a limit on the mean, relative.
        """
        if self.certain:
            return False
        if self.share is None:
            return _decided(2 * precision * self.log_ratio / self.error**2)
        odds = self.share / (1 - self.share)
        low, high = odds / _ZONE / (1 + odds / _ZONE), odds * _ZONE / (1 + odds * _ZONE)
        log_ratio = self.above * math.log(high / low) + (self.count - self.above) * math.log((1 - high) / (1 - low))
        return _decided(log_ratio / self.effect)


def allowed_share(metric: Metric) -> float | None:
    """Share of requests that may be above a limit on a metric of a time; None for a mean."""
    return None if metric.share_above is None else metric.share_above or _AS_A_TAIL


def evidence(name: str, limit: float, requests: Requests) -> LimitEvidence | None:
    """Evidence from requests on a limit; None while there are too few.

    Args:
        name: a metric of which lower is better.
        limit: largest value allowed, in ms or as a share.
        requests: the requests, in the order of their ends.
    """
    metric = metric_of(name)
    assert metric is not None and metric.is_limited_above, f"no limit can be on {name}"
    if metric.counted is not None:
        counts = np.asarray(metric.counted(requests), dtype=bool)
        near = counts.astype(float) if metric.nearness is None else metric.nearness(requests)
        return _of_share(counts, near, limit)
    assert metric.time is not None, "a metric counts requests or is a statistic of a time"
    if metric.time.has_several:
        # A request that was dropped has no part, and so none of these times; limits on others count it.
        times_s = metric.time.of(requests).astype(float)
        dropped = np.zeros(times_s.size, dtype=bool)
    else:
        # A request that was dropped is slow, whatever the limit: whoever sent it still waits.
        dropped = requests.dropped
        times_s = np.where(dropped, requests.latency_s, metric.time.of(requests))
    known = ~np.isnan(times_s)
    if metric.share_above is None:
        return _of_mean(times_s[known], limit / 1e3)
    above = (times_s > limit / 1e3) | dropped
    return _of_share(above[known], times_s[known], metric.share_above)


def kept(name: str, limit: float, requests: Requests, precision: float) -> bool | None:
    """Whether a limit is kept; None while that is undecided.

    Args:
        name: a metric of which lower is better.
        limit: largest value allowed, in ms or as a share.
        requests: the requests, in the order of their ends.
        precision: half the width of the zone around a limit on the mean, relative.
    """
    seen = evidence(name, limit, requests)
    return None if seen is None else seen.kept(precision)


def all_kept(at_most: Mapping[str, float], requests: Requests, precision: float) -> bool | None:
    """Whether all limits are kept: False as soon as one is broken, True once all are kept, None while undecided."""
    verdicts = [kept(name, limit, requests, precision) for name, limit in at_most.items()]
    return False if False in verdicts else None if None in verdicts else True


def most_above(at_most: Mapping[str, float], requests: Requests) -> float:
    """The largest share of requests that is above any one limit on a time; 0 without such a limit."""
    shares = [0.0]
    for name, limit in at_most.items():
        metric = metric_of(name)
        if metric is not None and metric.time is not None:
            times_s = metric.time.of(requests)
            shares.append(float((times_s > limit / 1e3).mean()) if times_s.size else 0.0)
    return max(shares)


def _of_share(above: np.ndarray, values: np.ndarray, share: float) -> LimitEvidence | None:
    if share <= 0 and above.any():
        return LimitEvidence(share=_AS_A_TAIL, certain=True)
    effect = design_effect(above, values)
    if effect is None:
        return None
    share = min(share, 1 - _AS_A_TAIL) if share > 0 else _AS_A_TAIL
    return LimitEvidence(share=share, above=float(above.sum()), count=float(above.size), effect=effect)


def _of_mean(values: np.ndarray, limit: float) -> LimitEvidence | None:
    estimate = interval.mean(values)
    if limit <= 0:
        return LimitEvidence(certain=True)
    if estimate is None:
        return None
    return LimitEvidence(
        log_ratio=math.log(estimate.mean / limit), error=max(estimate.error / estimate.mean, _LEAST_ERROR)
    )


def _decided(log_ratio: float) -> bool | None:
    return None if abs(log_ratio) < SURE else log_ratio < 0


def design_effect(above: np.ndarray, values: np.ndarray) -> float | None:
    """Factor, 1 or more, by which correlation increases the variance of a share; None for too few values.

    Args:
        above: `[n]` which requests are above the limit.
        values: `[n]` values of the requests; while hardly any is above (or below) the limit, the correlation of the
            largest tenth is used instead.
    """
    if values.size < interval.FEWEST * interval.SMALLEST:
        return None
    if min(above.sum(), (~above).sum()) < _SEEN:
        above = values > np.quantile(values, 1 - _SLOWEST)
    share = above.mean()
    estimate = interval.mean(above.astype(float))
    if estimate is None or not 0 < share < 1:
        return 1.0
    return max(1.0, _memory(values), float(estimate.error**2 * values.size / (share * (1 - share))))


def _memory(values: np.ndarray) -> float:
    """The design effect of an autoregressive process of order one with correlation r of neighbours: (1 + r) / (1 - r).

    It is estimated from all requests, so it is available before the tail has been visited, when batch means cannot say
    anything about it.
    """
    r = interval.correlation(values, _MOST_MEMORY)
    return (1 + r) / (1 - r)
