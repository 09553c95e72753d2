"""Predicts, by simulating a queue of the replica's batches, the rate from which on a limit is broken.

The times of a replica's batches say more about its latencies at any rate than the few slow requests of a short level:
the rest depends on the arrivals, whose pattern is known. So the prediction is the prior before any level near that
rate, with the error of such queues that `python -m benchmarks simulated_queue` shows; the levels decide.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from serve_deployments.load.arrivals import Arrivals
from serve_deployments.measuring.predicting.batch_queue import queue_of
from serve_deployments.measuring.predicting.calibration import (
    OFF,
    SPEED,
    Arrived,
    LatencyError,
    latency_error,
    slowest_tail,
)
from serve_deployments.measuring.predicting.simulated_latencies import SPAN, SimulatedLatencies
from serve_deployments.measuring.statistics.limit_verdict import allowed_share
from serve_deployments.measuring.statistics.rate_posterior import RatePrior
from serve_deployments.metrics.level_result import LevelResult
from serve_deployments.metrics.metric_table import LATENCY, metric_of
from serve_deployments.settings import Settings

_MOST_SHIFTS = 3  # how many ranges of rates are simulated to find where the limit is broken
_AROUND = 2  # number of rates on either side of the limit from whose rise the steepness is fitted
_GROUPS = 8  # of simulated queues, whose spread shows how exact a simulation is (our choice)
_FLATTEST = 0.1  # smallest steepness


def predicted_rates(
    levels: Sequence[LevelResult],
    settings: Settings,
    arrivals: Arrivals,
    at_most: Mapping[str, float],
    near_rps: float,
    held: Sequence[Arrived] = (),
) -> list[RatePrior | None]:
    """For each limit, a prior of the rate from which on it is broken; None where nothing can be predicted.

    Args:
        levels: levels so far.
        settings: the replica's settings.
        arrivals: arrival pattern.
        at_most: metric → largest value allowed.
        near_rps: rate around which to simulate first.
        held: requests of open levels, from which the error of simulated latencies is known better.
    """
    queue = queue_of(levels, settings)
    if queue is None:
        return [None] * len(at_most)
    simulated = SimulatedLatencies(queue, arrivals)
    priors: list[RatePrior | None] = []
    for name, limit in at_most.items():
        metric = metric_of(name)
        if metric is None or metric.time is not LATENCY:
            priors.append(None)
            continue
        share = allowed_share(metric)
        error = latency_error(queue, held, share, near_rps)
        priors.append(_Limited(simulated, share, limit / 1e3, error).prior(near_rps))
    return priors


@dataclass(frozen=True)
class _Limited:
    """The simulated latencies of a queue compared with a limit.

    Args:
        simulated: the simulated queue.
        share: share of requests that may be above the limit; None if the limit is on their mean.
        limit_s: the limit in seconds.
        error: how far simulated latencies are off.
    """

    simulated: SimulatedLatencies
    share: float | None
    limit_s: float
    error: LatencyError

    def prior(self, near_rps: float) -> RatePrior | None:
        """Prior of the rate from which on the limit is broken; None if that is far from `near_rps`."""
        if self.limit_s <= self.simulated.queue.way_s:
            return None
        for _ in range(_MOST_SHIFTS):
            log_rates, seen_s = self.simulated.around(near_rps)
            excess = self._excess(seen_s)
            if excess[0] < 0 < excess[-1]:
                return self._at(log_rates, seen_s, excess)
            near_rps *= math.exp(-SPAN if excess[0] >= 0 else SPAN)
        return None

    def _at(self, log_rates: np.ndarray, seen_s: np.ndarray, excess: np.ndarray) -> RatePrior:
        middle = self._broken_from(log_rates, seen_s)
        after = int(np.searchsorted(excess, 0.0))
        around = slice(max(0, after - _AROUND), after + _AROUND)
        rise, _ = np.polyfit(log_rates[around], excess[around], 1)
        # Two errors: all latencies are longer or shorter; or the whole queue is slower, and then its rates are lower
        # too, as its unit of time is longer. Levels that agree with the queue speak against either, but the times of
        # its batches are no better known for it.
        known = self.error.spread / OFF
        tail = slowest_tail(self.share)
        unknown = self.simulated.queue.error(self.simulated.sizes_of_slowest(math.exp(middle), tail))
        by_off, by_speed, by_batches = (
            (self._broken_from(log_rates, seen_s, error) - self._broken_from(log_rates, seen_s, -error)) / 2
            for error in (known * OFF, known * SPEED, unknown)
        )
        groups = seen_s.reshape(seen_s.shape[0], _GROUPS, -1).transpose(1, 0, 2)
        by_chance = float(np.std([self._broken_from(log_rates, part) for part in groups], ddof=1)) / math.sqrt(_GROUPS)
        spread = math.hypot(by_off, by_speed + known * SPEED, by_batches + unknown, by_chance)
        steepness = rise / (1.0 if self.share is None else math.log(1 / self.share))
        return RatePrior(math.exp(middle), spread, max(_FLATTEST, float(steepness)))

    def _broken_from(self, log_rates: np.ndarray, seen_s: np.ndarray, more: float = 0.0) -> float:
        """Logarithm of the rate from which on the limit is broken; `more` is added to the logarithm of the limit."""
        return float(np.interp(0.0, self._excess(seen_s, more), log_rates))

    def _excess(self, seen_s: np.ndarray, more: float = 0.0) -> np.ndarray:
        """`[rates]` excess over the limit, ascending: in log odds of a request above it, or in the log of the mean."""
        limit_s = self.limit_s * math.exp(more - self.error.log_ratio)
        if self.share is None:
            excess = np.log(seen_s.mean(axis=1) / limit_s)
        else:
            above, count = (seen_s > limit_s).sum(axis=1) + 0.5, seen_s.shape[1] + 1
            excess = np.log(above / (count - above)) - math.log(self.share / (1 - self.share))
        return np.maximum.accumulate(excess) + 1e-9 * np.arange(excess.size)
