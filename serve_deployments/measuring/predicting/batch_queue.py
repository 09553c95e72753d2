"""A simulated queue of batches, which predicts the latencies of a replica under given arrivals.

Near a limit on a p99, a level of a few seconds has a handful of slow requests, most of them from one burst of arrivals.
But the times of its batches are known after seconds, and a queue of such batches can be simulated for any length of
time. The result is a model's, not a measurement.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Self

import numpy as np

from serve_deployments.measuring.predicting.batch_error import relative_error
from serve_deployments.measuring.predicting.mean_times import MeanTimes
from serve_deployments.metrics.level_result import LevelResult
from serve_deployments.resources.usage import BatchTime, Usage
from serve_deployments.settings import Settings

FEWEST = 4
"""Minimum number of known batches for a prediction. Our choice."""

_FILLS = 2  # clients per place in a batch that keep it full: while one batch runs, the next becomes complete
_SLOWEST = 2.0  # largest slowness; our choice: the rest of a larger one is not caused by the replica itself


@dataclass(frozen=True)
class BatchQueue:
    """A queue served by one batch at a time; requests that wait when one ends form the next, up to the largest size.

    Args:
        mean_s: `[b]` mean seconds of a batch of 1, 2, … b requests; b is the largest batch size.
        factors: `[m]` time of each observed batch relative to the mean of its size, in order: slow batches come in
            runs, and so they do in the simulation.
        wait_s: how long a request waits for others while no batch runs.
        way_s: seconds of an answer besides its batch and the wait for it.
        sizes: `[m]` sizes of the observed batches, none larger than b; empty if they are not known.
        slowness: factor by which batches take longer than was observed of them, as `mean_s` has it.
    """

    mean_s: np.ndarray
    factors: np.ndarray
    wait_s: float = 0.0
    way_s: float = 0.0
    sizes: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=int))
    slowness: float = 1.0

    @classmethod
    def of(cls, batches: Sequence[BatchTime], largest: int, wait_s: float = 0.0) -> Self | None:
        """The queue of a replica from the observed times of its batches; None if too few are known.

        Args:
            batches: observed batches, in order.
            largest: largest batch size of the queue.
            wait_s: see `BatchQueue`.
        """
        if len(batches) < FEWEST:
            return None
        sizes, took_s = np.array([batch.size for batch in batches]), np.array([batch.seconds for batch in batches])
        means = MeanTimes.of(sizes, took_s, largest)
        factors = took_s / means.seconds[sizes - 1]
        # Those that are fitted to the batches lie too close to them.
        free = max(1.0, factors.size - means.fitted) / (factors.size - 1)
        spread = np.maximum(1 + (factors - 1) / math.sqrt(free), factors.min())
        return cls(means.seconds[:largest], spread, wait_s, sizes=np.minimum(sizes, largest))

    def error(self, mix: np.ndarray) -> float:
        """Relative standard error of the mean time of batches of these sizes; 0 if no batches are known.

        Args:
            mix: `[b]` weight of each size.
        """
        return relative_error(self.mean_s, self.sizes, self.factors, mix) if self.sizes.size else 0.0

    def latencies_s(self, arrived_s: np.ndarray, first_factor: np.ndarray) -> np.ndarray:
        """`[queues, n]` latency of each request in seconds, in order of arrival; see `served`."""
        return self.served(arrived_s, first_factor)[0]

    def served(self, arrived_s: np.ndarray, first_factor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Serves arrivals in parallel queues that begin empty.

        All queues take their next batch in one vectorised step, so that a thousand cost little more than one.

        Args:
            arrived_s: `[queues, n]` times of the arrivals, ascending in each queue.
            first_factor: `[queues]` index in `factors` at which each queue begins; they are repeated cyclically.

        Returns:
            `[queues, n]` latency of each request in seconds, in order of arrival; and `[queues, n]` the size of the
            batch that it was in.
        """
        queues, count = arrived_s.shape
        largest = self.mean_s.size
        longest_s = count * float(self.mean_s.max() * self.factors.max()) + self.wait_s
        # The queues are shifted to follow one another in time, so that all arrivals form one ascending row, in which
        # one search finds the end of every queue's next batch.
        shift_s: np.ndarray = np.arange(queues) * (float(arrived_s.max()) + longest_s + 1.0)
        due_s = (arrived_s + shift_s[:, None]).ravel()
        end: np.ndarray = np.arange(1, queues + 1) * count  # end of each queue's requests
        first: np.ndarray = end - count  # each queue's next request
        free_s = shift_s  # when each queue's previous batch has ended
        turn = first_factor
        begun: np.ndarray = np.zeros(due_s.size, dtype=bool)  # whether a batch begins with this request; when it ended
        ended_s: np.ndarray = np.empty(due_s.size)
        while first.size:
            start_s = due_s[first] + self.wait_s
            if self.wait_s:
                full = first + largest - 1
                start_s = np.minimum(start_s, np.where(full < end, due_s[np.minimum(full, end - 1)], np.inf))
            start_s = np.maximum(start_s, free_s)
            last = np.minimum(np.searchsorted(due_s, start_s, side="right"), np.minimum(first + largest, end))
            free_s = start_s + self.mean_s[last - first - 1] * self.factors[turn]
            begun[first], ended_s[first] = True, free_s
            left = last < end
            first, end, free_s, turn = last[left], end[left], free_s[left], (turn[left] + 1) % self.factors.size
        at = np.flatnonzero(begun)
        sizes = np.diff(at, append=due_s.size)
        latency_s = np.repeat(ended_s[at], sizes) - due_s + self.way_s
        return latency_s.reshape(queues, count), np.repeat(sizes, sizes).reshape(queues, count)

    def with_batches(self, batches: Sequence[BatchTime]) -> Self:
        """The queue in which these batches follow one another, in the time that each took."""
        sizes, took_s = np.array([batch.size for batch in batches]), np.array([batch.seconds for batch in batches])
        return replace(self, factors=self.slowness * took_s / self.mean_s[np.minimum(sizes, self.mean_s.size) - 1])

    def under(self, arrived_s: np.ndarray, queues: int) -> np.ndarray:
        """`[queues, n]` latencies in seconds under the same arrivals, with batches that differ by queue.

        Args:
            arrived_s: `[n]` times of the arrivals, ascending.
            queues: number of queues, each of which begins at another of the observed batches.
        """
        first_factor = np.random.default_rng(0).integers(self.factors.size, size=queues)
        return self.latencies_s(np.tile(arrived_s, (queues, 1)), first_factor)

    def at_rates(self, units: np.ndarray, rates_rps: np.ndarray) -> np.ndarray:
        """`[rates, queues, n]` latencies in seconds at several rates.

        The pattern of arrivals and the batches are the same, so that the rates differ by their own effect only.

        Args:
            units: `[queues, n]` times of the arrivals at a rate of 1, ascending in each queue.
            rates_rps: `[rates]` the rates.
        """
        queues, count = units.shape
        first_factor = np.random.default_rng(0).integers(self.factors.size, size=queues)
        arrived_s = (units[None] / rates_rps[:, None, None]).reshape(-1, count)
        return self.latencies_s(arrived_s, np.tile(first_factor, rates_rps.size)).reshape(-1, queues, count)


def queue_of(levels: Sequence[LevelResult], settings: Settings) -> BatchQueue | None:
    """The queue of a replica from its usage in these levels.

    None if the usage was not reported, has too few batches, or no level had a single client.
    """
    told = [(level, level.usage) for level in levels if level.usage is not None and level.usage.busy_s > 0]
    alone = next((one for one in told if one[0].concurrency == 1), None)
    wait_s = settings.batch_wait_ms / 1e3 if settings.max_batch_size > 1 else 0.0
    queue = BatchQueue.of([batch for _, usage in told for batch in usage.recent], settings.max_batch_size, wait_s)
    if queue is None or alone is None:
        return None
    slowness = _slowness(told, settings.max_batch_size)
    return replace(queue, mean_s=slowness * queue.mean_s, way_s=_way_s(*alone, wait_s), slowness=slowness)


def _slowness(told: Sequence[tuple[LevelResult, Usage]], largest: int) -> float:
    """Factor by which batches take longer than the model is busy: even under full load it is not busy all the time."""
    full = [(level.achieved_rps, usage) for level, usage in told if (level.concurrency or 0) >= _FILLS * largest]
    if not full:
        return 1.0
    _, usage = max(full, key=itemgetter(0))
    return min(max(1.0, usage.seconds / usage.busy_s), _SLOWEST)


def _way_s(alone: LevelResult, usage: Usage, wait_s: float) -> float:
    """Seconds of an answer besides its batch and the wait for it, from a level of a single client."""
    batch_s = usage.busy_s / sum(usage.batches.values())
    return max(0.0, (alone.value("mean_ms") or 0.0) / 1e3 - batch_s - wait_s)
