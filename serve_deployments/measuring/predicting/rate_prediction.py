"""From which rate on would a queue of the replica's batches break a limit? Asked of a simulation, for want of time.

What a replica's batches take says more of its latencies at any rate than the few slow requests of a short level: the
rest is arrivals, whose pattern is known. So this is believed before any level near that rate, within what
`python -m benchmarks simulated_queue` shows that such a queue is off, and levels decide.
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
"""By how much a predicted latency is off, relative: a standard deviation, as the next. With both, levels of real
replicas were as far off as is stated (`python -m benchmarks simulated_queue`)."""

SPEED = 0.05
"""By how much a replica will be slower or faster than it was, beyond what the times of its batches show."""

_RATES, _SPAN = 9, 1.2  # that are simulated, and the logarithm of the highest over the lowest
_QUEUES, _LENGTH, _LENGTH_A_BATCH = 40, 500, 60  # a rate, and requests in each: a p99 rests on 160 and more
_WARM = 0.2  # share of a queue's requests before it is as full as it will be
_MOST_SHIFTS = 3  # of the rates that are simulated, if the limit is not broken among them
_AROUND = 2  # rates on either side of the limit, whose rise is the steepness
_FLATTEST = 0.1  # steepness


def predicted_rates(
    levels: Sequence[LevelResult], settings: Settings, arrivals: Arrivals, at_most: Mapping[str, float], near_rps: float
) -> list[RatePrior | None]:
    """For each limit, where it is probably broken from; None where nothing can be said.

    Args:
        levels: levels so far.
        settings: what the replica runs under.
        arrivals: their pattern.
        at_most: metric → largest value allowed.
        near_rps: where to look first.
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
    """Latencies of a queue at rates around one, simulated once for all limits.

    Args:
        queue: the replica's.
        arrivals: their pattern.
    """

    queue: BatchQueue
    arrivals: Arrivals
    _seen: dict[float, np.ndarray] = field(default_factory=dict)

    def around(self, rate_rps: float) -> tuple[np.ndarray, np.ndarray]:
        """`[rates]` their logarithms, and `[rates, n]` latencies in s, those of a queue not as full yet left out."""
        log_rates = math.log(rate_rps) + _SPAN * np.linspace(-0.5, 0.5, _RATES)
        if rate_rps not in self._seen:
            latency_s = self.queue.at_rates(self._units, np.exp(log_rates))
            warm = latency_s[:, :, int(_WARM * latency_s.shape[2]) :]
            self._seen[rate_rps] = warm.reshape(_RATES, -1)
        return log_rates, self._seen[rate_rps]

    @cached_property
    def _units(self) -> np.ndarray:
        """`[queues, n]` arrivals at a rate of 1, each queue's a piece of the same schedule."""
        length = _LENGTH + _LENGTH_A_BATCH * self.queue.mean_s.size
        offsets = self.arrivals.offsets(1.0, 0)
        pieces = np.fromiter(itertools.islice(offsets, _QUEUES * length), float).reshape(_QUEUES, length)
        return pieces - pieces[:, :1]


@dataclass(frozen=True)
class _Limited:
    """A queue's latencies against a limit.

    Args:
        simulated: the queue.
        share: of requests that may be above the limit; None: the limit is on their mean.
        limit_s: the limit.
    """

    simulated: _Simulated
    share: float | None
    limit_s: float

    def prior(self, near_rps: float) -> RatePrior | None:
        """Where the limit is broken from; None if that is nowhere near."""
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
        # The same limit where all latencies are longer or shorter; and in a queue that is slower in all, whose rates
        # are lower too: its time has another unit.
        speed = math.hypot(SPEED, self.simulated.queue.error)
        by_off, by_speed = (
            (self._broken_from(log_rates, seen_s, error) - self._broken_from(log_rates, seen_s, -error)) / 2
            for error in (OFF, speed)
        )
        spread = math.hypot(by_off, by_speed + speed)
        steepness = rise / (1.0 if self.share is None else math.log(1 / self.share))
        return RatePrior(math.exp(middle), spread, max(_FLATTEST, float(steepness)))

    def _broken_from(self, log_rates: np.ndarray, seen_s: np.ndarray, more: float = 0.0) -> float:
        """Logarithm of the rate from which the limit is broken if it is so much higher, as a logarithm."""
        return float(np.interp(0.0, self._excess(seen_s, self.limit_s * math.exp(more)), log_rates))

    def _excess(self, seen_s: np.ndarray, limit_s: float) -> np.ndarray:
        """`[rates]` by how much the limit is broken, ascending: log odds of a request above it, or log of the mean."""
        if self.share is None:
            excess = np.log(seen_s.mean(axis=1) / limit_s)
        else:
            above, count = (seen_s > limit_s).sum(axis=1) + 0.5, seen_s.shape[1] + 1
            excess = np.log(above / (count - above)) - math.log(self.share / (1 - self.share))
        return np.maximum.accumulate(excess) + 1e-9 * np.arange(excess.size)
