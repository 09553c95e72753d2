"""Predicts, by simulating a queue of the replica's batches, the rate from which on a limit is broken.

The times of a replica's batches say more about its latencies at any rate than the few slow requests of a short level:
the rest depends on the arrivals, whose pattern is known. So the prediction is the prior before any level near that
rate, with the error of such queues that `python -m benchmarks simulated_queue` shows; the levels decide.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from serve_deployments.load.arrivals import Arrivals
from serve_deployments.measuring.predicting.batch_queue import BatchQueue, queue_of
from serve_deployments.measuring.statistics.limit_verdict import allowed_share
from serve_deployments.measuring.statistics.rate_posterior import RatePrior
from serve_deployments.metrics.level_result import LevelResult
from serve_deployments.metrics.metric_table import LATENCY, metric_of
from serve_deployments.settings import Settings

OFF = 0.1
"""Relative error of a predicted latency, as a standard deviation, like `SPEED`. With both, the errors against levels of
real replicas are as large as stated (`python -m benchmarks simulated_queue`)."""

SPEED = 0.05
"""Relative change of a replica's speed, as a standard deviation, beyond what the times of its batches show."""

_RATES, _SPAN = 9, 1.2  # number of simulated rates, and logarithm of the ratio of the highest to the lowest
_QUEUES, _LENGTH, _LENGTH_A_BATCH = 40, 500, 60  # queues per rate, requests in each: a p99 rests on 160 and more
_WARM = 0.2  # share of a queue's requests that are left out as warm-up
_MOST_SHIFTS = 3  # how many ranges of rates are simulated to find where the limit is broken
_AROUND = 2  # number of rates on either side of the limit from whose rise the steepness is fitted
_FLATTEST = 0.1  # smallest steepness


def predicted_rates(
    levels: Sequence[LevelResult], settings: Settings, arrivals: Arrivals, at_most: Mapping[str, float], near_rps: float
) -> list[RatePrior | None]:
    """For each limit, a prior of the rate from which on it is broken; None where nothing can be predicted.

    Args:
        levels: levels so far.
        settings: the replica's settings.
        arrivals: arrival pattern.
        at_most: metric → largest value allowed.
        near_rps: rate around which to simulate first.
    """
    queue = queue_of(levels, settings)
    if queue is None:
        return [None] * len(at_most)
    simulated = _Simulated(queue, arrivals)
    metrics = {name: metric_of(name) for name in at_most}
    return [
        _Limited(simulated, allowed_share(metric), at_most[name] / 1e3).prior(near_rps)
        if metric is not None and metric.time is LATENCY
        else None
        for name, metric in metrics.items()
    ]


@dataclass(frozen=True)
class _Simulated:
    """Simulated latencies of a queue at rates around a given one, computed once for all limits.

    Args:
        queue: the replica's queue.
        arrivals: arrival pattern.
    """

    queue: BatchQueue
    arrivals: Arrivals
    _seen: dict[float, np.ndarray] = field(default_factory=dict)

    def around(self, rate_rps: float) -> tuple[np.ndarray, np.ndarray]:
        """`[rates]` logarithms of the rates, and `[rates, n]` latencies in s, without the warm-up of the queues."""
        log_rates = math.log(rate_rps) + _SPAN * np.linspace(-0.5, 0.5, _RATES)
        if rate_rps not in self._seen:
            latency_s = self.queue.at_rates(self._units, np.exp(log_rates))
            warm = latency_s[:, :, int(_WARM * latency_s.shape[2]) :]
            self._seen[rate_rps] = warm.reshape(_RATES, -1)
        return log_rates, self._seen[rate_rps]

    @cached_property
    def _units(self) -> np.ndarray:
        """`[queues, n]` times of the arrivals at a rate of 1; each queue takes its own piece of one schedule."""
        length = _LENGTH + _LENGTH_A_BATCH * self.queue.mean_s.size
        offsets = self.arrivals.offsets(1.0, 0)
        pieces = np.fromiter(itertools.islice(offsets, _QUEUES * length), float).reshape(_QUEUES, length)
        return pieces - pieces[:, :1]


@dataclass(frozen=True)
class _Limited:
    """The simulated latencies of a queue compared with a limit.

    Args:
        simulated: the simulated queue.
        share: share of requests that may be above the limit; None if the limit is on their mean.
        limit_s: the limit in seconds.
    """

    simulated: _Simulated
    share: float | None
    limit_s: float

    def prior(self, near_rps: float) -> RatePrior | None:
        """Prior of the rate from which on the limit is broken; None if that is far from `near_rps`."""
        if self.limit_s <= self.simulated.queue.way_s:
            return None
        for _ in range(_MOST_SHIFTS):
            log_rates, seen_s = self.simulated.around(near_rps)
            excess = self._excess(seen_s, self.limit_s)
            if excess[0] < 0 < excess[-1]:
                return self._at(log_rates, seen_s, excess)
            near_rps *= math.exp(-_SPAN if excess[0] >= 0 else _SPAN)
        return None

    def _at(self, log_rates: np.ndarray, seen_s: np.ndarray, excess: np.ndarray) -> RatePrior:
        middle = self._broken_from(log_rates, seen_s)
        after = int(np.searchsorted(excess, 0.0))
        around = slice(max(0, after - _AROUND), after + _AROUND)
        rise, _ = np.polyfit(log_rates[around], excess[around], 1)
        # Two errors: all latencies are longer or shorter; or the whole queue is slower, and then its rates are lower
        # too, as its unit of time is longer.
        speed = math.hypot(SPEED, self.simulated.queue.error)
        by_off, by_speed = (
            (self._broken_from(log_rates, seen_s, error) - self._broken_from(log_rates, seen_s, -error)) / 2
            for error in (OFF, speed)
        )
        spread = math.hypot(by_off, by_speed + speed)
        steepness = rise / (1.0 if self.share is None else math.log(1 / self.share))
        return RatePrior(math.exp(middle), spread, max(_FLATTEST, float(steepness)))

    def _broken_from(self, log_rates: np.ndarray, seen_s: np.ndarray, more: float = 0.0) -> float:
        """Logarithm of the rate from which on the limit is broken; `more` is added to the logarithm of the limit."""
        return float(np.interp(0.0, self._excess(seen_s, self.limit_s * math.exp(more)), log_rates))

    def _excess(self, seen_s: np.ndarray, limit_s: float) -> np.ndarray:
        """`[rates]` excess over the limit, ascending: in log odds of a request above it, or in the log of the mean."""
        if self.share is None:
            excess = np.log(seen_s.mean(axis=1) / limit_s)
        else:
            above, count = (seen_s > limit_s).sum(axis=1) + 0.5, seen_s.shape[1] + 1
            excess = np.log(above / (count - above)) - math.log(self.share / (1 - self.share))
        return np.maximum.accumulate(excess) + 1e-9 * np.arange(excess.size)
