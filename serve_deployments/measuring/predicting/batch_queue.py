"""A replica as a queue of batches, simulated: which latencies would it have under these arrivals?

Near a limit on a p99, a level of a few seconds has a handful of slow requests, most of them from one burst of arrivals.
But what its batches take is known after seconds, and a queue of such batches can be simulated for as long as one likes.
This is a model and no measurement.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Self

import numpy as np

from serve_deployments.measuring.statistics import interval
from serve_deployments.metrics.level_result import LevelResult
from serve_deployments.settings import Settings
from serve_deployments.usage import Batch, Usage

FEWEST = 4
"""Batches below which nothing is said. Our choice."""

_FILLS = 2  # clients for each place in a batch: while one batch runs, the next is complete
_SLOWEST = 2.0  # our choice: more than that is not the replica's own doing


@dataclass(frozen=True)
class BatchQueue:
    """One batch after another; who waits when one ends goes into the next, up to the largest.

    Args:
        mean_s: `[b]` seconds that a batch of 1, 2, … b requests takes on average; b is the largest.
        factors: `[m]` how many times as long each batch took, in their order: a slow one has slow neighbours, and so
            it has in the simulation.
        wait_s: how long a request waits for others while nothing runs.
        way_s: what an answer takes beside its batch and the wait for it.
    """

    mean_s: np.ndarray
    factors: np.ndarray
    wait_s: float = 0.0
    way_s: float = 0.0

    @classmethod
    def of(cls, batches: Sequence[Batch], largest: int, wait_s: float = 0.0) -> Self | None:
        """That of a replica, by what its batches took; None if too few are known.

        What sizes take that it never had is interpolated, and beyond the largest that it had, by a line through all.
        """
        if len(batches) < FEWEST:
            return None
        sizes, took_s = np.array([batch.size for batch in batches]), np.array([batch.seconds for batch in batches])
        counts = np.bincount(sizes, minlength=largest + 1)
        had = np.flatnonzero(counts)
        seen_s = np.bincount(sizes, took_s)[had] / counts[had]
        every = np.arange(1, max(largest, had[-1]) + 1)
        mean_s = np.interp(every, had, seen_s)
        if had.size > 1:
            slope_s, _ = np.polyfit(had, seen_s, 1, w=np.sqrt(counts[had]))
            mean_s += max(0.0, slope_s) * np.maximum(every - had[-1], 0)
        mean_s = np.maximum(mean_s, 1e-9)
        return cls(mean_s[:largest], took_s / mean_s[sizes - 1], wait_s)

    @property
    def error(self) -> float:
        """Standard error of the times, relative: by how much all of them may be off."""
        known = interval.mean(self.factors)
        return known.error if known else float(self.factors.std() / math.sqrt(self.factors.size))

    def latencies_s(self, arrived_s: np.ndarray, first_factor: np.ndarray) -> np.ndarray:
        """`[queues, n]` how long each request takes, in order of arrival, in queues side by side that begin empty.

        All queues take their next batch in one step, so that a thousand cost little more than one.

        Args:
            arrived_s: `[queues, n]` ascending.
            first_factor: `[queues]` at which of `factors` each begins; those after the last are the first again.
        """
        queues, count = arrived_s.shape
        largest = self.mean_s.size
        longest_s = count * float(self.mean_s.max() * self.factors.max()) + self.wait_s
        # One after the other in time, so that all arrivals are one ascending row, in which one search finds the end of
        # every queue's next batch.
        shift_s: np.ndarray = np.arange(queues) * (float(arrived_s.max()) + longest_s + 1.0)
        due_s = (arrived_s + shift_s[:, None]).ravel()
        end: np.ndarray = np.arange(1, queues + 1) * count  # of each queue's requests
        first: np.ndarray = end - count  # of each queue: its next request, and
        free_s = shift_s  # when the batch before that has ended
        turn = first_factor
        begun, ended_s = [], []
        while first.size:
            start_s = due_s[first] + self.wait_s
            if self.wait_s:
                full = first + largest - 1
                start_s = np.minimum(start_s, np.where(full < end, due_s[np.minimum(full, end - 1)], np.inf))
            start_s = np.maximum(start_s, free_s)
            last = np.minimum(np.searchsorted(due_s, start_s, side="right"), np.minimum(first + largest, end))
            free_s = start_s + self.mean_s[last - first - 1] * self.factors[turn]
            begun.append(first)
            ended_s.append(free_s)
            left = last < end
            first, end, free_s, turn = last[left], end[left], free_s[left], (turn[left] + 1) % self.factors.size
        at, batch_ended_s = np.concatenate(begun), np.concatenate(ended_s)
        order = np.argsort(at)
        sizes = np.diff(np.append(at[order], queues * count))
        return np.asarray((np.repeat(batch_ended_s[order], sizes) - due_s + self.way_s).reshape(queues, count))

    def at_rates(self, units: np.ndarray, rates_rps: np.ndarray) -> np.ndarray:
        """`[rates, queues, n]` latencies under one pattern of arrivals, and with the same batches, at several rates.

        So rates differ by their own effect alone.

        Args:
            units: `[queues, n]` when requests arrive at a rate of 1, ascending.
            rates_rps: `[rates]`.
        """
        queues, count = units.shape
        first_factor = np.random.default_rng(0).integers(self.factors.size, size=queues)
        arrived_s = (units[None] / rates_rps[:, None, None]).reshape(-1, count)
        return self.latencies_s(arrived_s, np.tile(first_factor, rates_rps.size)).reshape(-1, queues, count)


def queue_of(levels: Sequence[LevelResult], settings: Settings) -> BatchQueue | None:
    """A replica's queue by what it told in these levels; None unless it did, and one was of one client alone."""
    told = [(level, level.usage) for level in levels if level.usage is not None and level.usage.busy_s > 0]
    alone = next((one for one in told if one[0].concurrency == 1), None)
    wait_s = settings.batch_wait_ms / 1e3 if settings.max_batch_size > 1 else 0.0
    queue = BatchQueue.of([batch for _, usage in told for batch in usage.recent], settings.max_batch_size, wait_s)
    if queue is None or alone is None:
        return None
    slowness = _slowness(told, settings.max_batch_size)
    return replace(queue, mean_s=slowness * queue.mean_s, way_s=_way_s(*alone, wait_s))


def _slowness(told: Sequence[tuple[LevelResult, Usage]], largest: int) -> float:
    """How many times as long batches seem to take: a model is not busy all the time, however much there is to do."""
    full = [(level.achieved_rps, usage) for level, usage in told if (level.concurrency or 0) >= _FILLS * largest]
    if not full:
        return 1.0
    _, usage = max(full, key=itemgetter(0))
    return min(max(1.0, usage.seconds / usage.busy_s), _SLOWEST)


def _way_s(alone: LevelResult, usage: Usage, wait_s: float) -> float:
    """What an answer takes beside its batch and the wait for it, seen by one client alone."""
    batch_s = usage.busy_s / sum(usage.batches.values())
    return max(0.0, (alone.value("mean_ms") or 0.0) / 1e3 - batch_s - wait_s)
