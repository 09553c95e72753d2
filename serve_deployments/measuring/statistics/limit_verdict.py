"""Is a limit kept? Asked again and again as requests are answered, with an error of 5 %, however often.

Wald's sequential probability ratio test (Annals of Mathematical Statistics 16, 1945) of "a little below the limit"
against "a little above": log(19), at a probability of 5 % either way, ends it. It may be looked at after each request.
In the zone between the two either answer is right; there the test takes longest, but not for ever.

Requests are not independent, so the likelihood of n of them is that of n / D independent ones, where D, the design
effect, is how many times as large batch means show the variance to be (quasi-likelihood: McCullagh and Nelder,
Generalized Linear Models, section 4.5).
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
"""Wald's bound for errors of 5 % on either side."""

_ZONE = 2.5
"""Of the odds, below and above a share. Our choice: the tail of an M/M/1 queue is exp(-(capacity - rate) x limit), so
2.5 times as many slow requests around a p99 are a fifth of the spare capacity: at four fifths of the capacity 5 % of
the rate, which is what a bracket is narrowed to."""

_AS_A_TAIL = 0.01
"""No request at all above a limit can never be shown; as many are asked as for a p99. Our choice."""

_MOST_MEMORY = 0.98  # our choice: a hundred requests
_TAIL = 0.1  # share of the slowest whose correlation stands for that of those above a limit, if these are few
_LEAST_ERROR = 1e-3  # of a mean, relative: less than that no clock can tell (our choice)
_SEEN = 10  # our choice: of fewer, batch means say nothing


@dataclass(frozen=True)
class LimitEvidence:
    """What requests show of one limit.

    Args:
        share: of requests that may be above it; None: the limit is on the mean.
        above: requests above it.
        count: requests in all.
        effect: D, how many of them are worth one independent one.
        certain: none may be above it, and one was.
        log_ratio: logarithm of mean over limit.
        error: its standard error.
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
        """Whether the limit is kept by what was seen, sure or not."""
        if self.certain:
            return False
        return self.log_ratio <= 0 if self.share is None else self.above <= self.share * self.count

    def kept(self, precision: float) -> bool | None:
        """Whether the limit is kept; None while that is open. A limit on the mean has a zone so wide, either way."""
        if self.certain:
            return False
        if self.share is None:
            return _decided(2 * precision * self.log_ratio / self.error**2)
        odds = self.share / (1 - self.share)
        low, high = odds / _ZONE / (1 + odds / _ZONE), odds * _ZONE / (1 + odds * _ZONE)
        log_ratio = self.above * math.log(high / low) + (self.count - self.above) * math.log((1 - high) / (1 - low))
        return _decided(log_ratio / self.effect)


def allowed_share(metric: Metric) -> float | None:
    """Of requests that may be above a limit on a time's metric; None for their mean."""
    return None if metric.share_above is None else metric.share_above or _AS_A_TAIL


def evidence(name: str, limit: float, requests: Requests) -> LimitEvidence | None:
    """What requests show of a limit; None while there are too few.

    Args:
        name: a metric of which less is better.
        limit: the most allowed, in ms or as a share.
        requests: in the order of their ends.
    """
    metric = metric_of(name)
    assert metric is not None and metric.is_limited_above, f"no limit can be on {name}"
    if metric.time is None:
        return _of_share(requests.failed, requests.failed.astype(float), limit)
    times_s = metric.time.of(requests)
    times_s = times_s[~np.isnan(times_s)]
    if metric.share_above is None:
        return _of_mean(times_s, limit / 1e3)
    return _of_share(times_s > limit / 1e3, times_s, metric.share_above)


def kept(name: str, limit: float, requests: Requests, precision: float) -> bool | None:
    """Whether a limit is kept by requests in the order of their ends; None while that is open.

    Args:
        name: a metric of which less is better.
        limit: the most allowed, in ms or as a share.
        requests: in the order of their ends.
        precision: half the width of the zone around a limit on the mean, relative.
    """
    seen = evidence(name, limit, requests)
    return None if seen is None else seen.kept(precision)


def all_kept(at_most: Mapping[str, float], requests: Requests, precision: float) -> bool | None:
    """Whether all limits are kept: no as soon as one is not, yes once all are."""
    verdicts = [kept(name, limit, requests, precision) for name, limit in at_most.items()]
    return False if False in verdicts else None if None in verdicts else True


def most_above(at_most: Mapping[str, float], requests: Requests) -> float:
    """Of the limits on times, the largest share of requests that is above one; 0 without such a limit."""
    shares = [0.0]
    for name, limit in at_most.items():
        metric = metric_of(name)
        if metric is not None and metric.time is not None:
            shares.append(float((metric.time.of(requests) > limit / 1e3).mean()))
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
    """How many times as large correlation makes the variance of a share; 1 or more, None while too few are known.

    Args:
        above: `[n]` which requests are above the limit.
        values: `[n]` their latencies; while hardly any is above, those among the slowest tenth tell.
    """
    if values.size < interval.FEWEST * interval.SMALLEST:
        return None
    if min(above.sum(), (~above).sum()) < _SEEN:
        above = values > np.quantile(values, 1 - _TAIL)
    share = above.mean()
    estimate = interval.mean(above.astype(float))
    if estimate is None or not 0 < share < 1:
        return 1.0
    return max(1.0, _memory(values), float(estimate.error**2 * values.size / (share * (1 - share))))


def _memory(values: np.ndarray) -> float:
    """How many requests one that stands alone is worth, by the correlation of neighbours: (1 + r) / (1 - r).

    Of an autoregressive process of order one. It rests on all requests, so it is known before an excursion to the
    tail has been seen, of which batch means can say nothing yet.
    """
    r = interval.correlation(values, _MOST_MEMORY)
    return (1 + r) / (1 - r)
