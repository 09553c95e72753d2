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

import numpy as np

from serve_deployments import interval
from serve_deployments.measurement import LATENCIES, PERCENTILES

SURE = math.log(0.95 / 0.05)
"""Wald's bound for errors of 5 % on either side."""

_ZONE = 2.5
"""Of the odds, below and above a share. Our choice: the tail of an M/M/1 queue is exp(-(capacity - rate) x limit), so
2.5 times as many slow requests around a p99 are a fifth of the spare capacity: at four fifths of the capacity 5 % of
the rate, which is what a bracket is narrowed to."""

_AS_A_TAIL = 0.01
"""No request at all above a limit can never be shown; as many are asked as for a p99. Our choice."""

_TAIL = 0.1  # share of the slowest whose correlation stands for that of those above a limit, if these are few
_SEEN = 10  # our choice: of fewer, batch means say nothing


def kept(name: str, limit: float, latency_s: np.ndarray, precision: float) -> bool | None:
    """Whether a limit is kept by requests in the order of their ends; None while that is open.

    Args:
        name: a latency or `error_rate`.
        limit: the most allowed, in ms or as a share.
        latency_s: `[n]`; NaN: failed.
        precision: half the width of the zone around a limit on the mean, relative.
    """
    failed = np.isnan(latency_s)
    if name == "error_rate":
        return _share_kept(failed, failed.astype(float), limit)
    answered = latency_s[~failed]
    if name == "mean_ms":
        return _mean_kept(answered, limit / 1e3, precision)
    share = 1 - PERCENTILES.get(name, 100.0) / 100
    return _share_kept(answered > limit / 1e3, answered, share)


def all_kept(at_most: Mapping[str, float], latency_s: np.ndarray, precision: float) -> bool | None:
    """Whether all limits are kept: no as soon as one is not, yes once all are."""
    verdicts = [kept(name, limit, latency_s, precision) for name, limit in at_most.items()]
    return False if False in verdicts else None if None in verdicts else True


def latency_limits(at_most: Mapping[str, float]) -> dict[str, float]:
    """Those limits that are on latencies."""
    return {name: limit for name, limit in at_most.items() if name in LATENCIES}


def _share_kept(above: np.ndarray, values: np.ndarray, share: float) -> bool | None:
    count = int(above.sum())
    if share <= 0 or share >= 1:
        if share <= 0 and count:
            return False
        share = min(max(share, _AS_A_TAIL), 1 - _AS_A_TAIL)
    effect = design_effect(above, values)
    if effect is None:
        return None
    odds = share / (1 - share)
    low, high = odds / _ZONE / (1 + odds / _ZONE), odds * _ZONE / (1 + odds * _ZONE)
    ratio = count * math.log(high / low) + (above.size - count) * math.log((1 - high) / (1 - low))
    return _decided(ratio / effect)


def _mean_kept(values: np.ndarray, limit: float, precision: float) -> bool | None:
    estimate = interval.mean(values)
    if estimate is None or limit <= 0:
        return False if limit <= 0 else None
    if estimate.error == 0:
        return estimate.mean <= limit
    return _decided(2 * precision * limit * (estimate.mean - limit) / estimate.error**2)


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
    estimate = interval.mean(above.astype(float), (interval.BATCHES,))
    if estimate is None or not 0 < share < 1:
        return 1.0
    return max(1.0, estimate.error**2 * values.size / (share * (1 - share)))
