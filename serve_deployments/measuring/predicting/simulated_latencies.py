"""Latencies of a replica's simulated queue in the long run, at any rate."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from serve_deployments.load.arrivals import Arrivals
from serve_deployments.measuring.predicting.batch_queue import BatchQueue

SPAN = 1.2
"""Logarithm of the ratio of the highest of the simulated rates to the lowest."""

_RATES = 9  # number of simulated rates
_QUEUES, _LENGTH, _LENGTH_A_BATCH = 120, 500, 60  # queues per rate, requests in each: a p99 rests on 480 and more
_WARM = 0.2  # share of a queue's requests that are left out as warm-up


@dataclass(frozen=True)
class SimulatedLatencies:
    """Simulated latencies of a queue, computed once for all limits.

    Args:
        queue: the replica's queue.
        arrivals: arrival pattern.
    """

    queue: BatchQueue
    arrivals: Arrivals
    _seen: dict[float, np.ndarray] = field(default_factory=dict)

    def around(self, rate_rps: float) -> tuple[np.ndarray, np.ndarray]:
        """`[rates]` logarithms of rates around a given one, and `[rates, n]` latencies in s, without warm-up."""
        log_rates = math.log(rate_rps) + SPAN * np.linspace(-0.5, 0.5, _RATES)
        if rate_rps not in self._seen:
            self._seen[rate_rps] = self.long_run(np.exp(log_rates))
        return log_rates, self._seen[rate_rps]

    def sizes_of_slowest(self, rate_rps: float, tail: float) -> np.ndarray:
        """`[b]` share of the slowest requests at a rate that were in a batch of 1, 2, … b requests.

        Args:
            rate_rps: the rate.
            tail: share of requests that are the slowest.
        """
        first_factor = np.zeros(self._units.shape[0], dtype=int)
        latency_s, size = (x[:, self._warm :].ravel() for x in self.queue.served(self._units / rate_rps, first_factor))
        slow = size[latency_s >= np.quantile(latency_s, 1 - tail)]
        return np.bincount(slow, minlength=self.queue.mean_s.size + 1)[1:] / slow.size

    def long_run(self, rates_rps: np.ndarray) -> np.ndarray:
        """`[rates, n]` latencies in s, without the warm-up of the queues."""
        latency_s = self.queue.at_rates(self._units, rates_rps)
        return latency_s[:, :, self._warm :].reshape(rates_rps.size, -1)

    @property
    def _warm(self) -> int:
        """Number of a queue's requests that are left out as warm-up."""
        return int(_WARM * self._units.shape[1])

    @cached_property
    def _units(self) -> np.ndarray:
        """`[queues, n]` times of the arrivals at a rate of 1; each queue takes its own piece of one schedule."""
        length = _LENGTH + _LENGTH_A_BATCH * self.queue.mean_s.size
        offsets = self.arrivals.offsets(1.0, 0)
        pieces = np.fromiter(itertools.islice(offsets, _QUEUES * length), float).reshape(_QUEUES, length)
        return pieces - pieces[:, :1]
