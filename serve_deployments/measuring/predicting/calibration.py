"""How far the simulated latencies of a replica are off, from levels that are simulated with their own arrivals.

What a short level shows depends on when its requests happened to arrive. A queue of the replica's batches under the
very same arrivals had the same luck, so the difference between what was measured and what is simulated is free of it: a
control variate (Lavenberg and Welch, Management Science 27, 1981). It is regressed towards zero, as a simulated latency
is seldom far off, and the rest of it corrects what the queue says of the long run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from serve_deployments.measuring.predicting.batch_queue import BatchQueue
from serve_deployments.measuring.statistics import interval
from serve_deployments.metrics.request_record import Requests

OFF = 0.1
"""Relative error of a predicted latency, as a standard deviation, like `SPEED`. With both, the errors against levels of
real replicas are as large as stated (`python -m benchmarks simulated_queue`)."""

SPEED = 0.05
"""Relative change of a replica's speed, as a standard deviation, beyond what the times of its batches show."""

_REQUESTS, _MOST, _FEWEST = 20_000, 40, 8
"""Simulated requests for a level, as many as for a rate of a prediction; and the bounds of the number of queues that
they are divided among, each of which begins at another of the known batches."""

_WIDER = 10  # times the share above a limit: the slowest tenth for a p99, which has ten times as many requests
_LEAST = 0.005  # relative: a level cannot show less of an error, as its batches do not form exactly as simulated


@dataclass(frozen=True)
class Arrived:
    """The requests of an open level, in the order in which they were due.

    Args:
        rate_rps: rate of the level.
        due_s: `[n]` when each was due, ascending.
        latency_s: `[n]` their latencies.
        measured: `[n]` which of them are measured.
    """

    rate_rps: float
    due_s: np.ndarray
    latency_s: np.ndarray
    measured: np.ndarray

    @classmethod
    def of(cls, rate_rps: float, requests: Requests, measured: np.ndarray) -> Self:
        """The requests of a level in the order of their ends, and which are measured; of these, failed ones are not."""
        order = np.argsort(requests.due_s, kind="stable")
        return cls(
            rate_rps, requests.due_s[order], requests.latency_s[order], (measured & ~requests.failed)[order]
        )  # fmt: skip


@dataclass(frozen=True)
class LatencyError:
    """How far simulated latencies are off.

    Args:
        log_ratio: logarithm of the true latencies over the simulated ones.
        spread: its standard deviation.
    """

    log_ratio: float = 0.0
    spread: float = OFF


def latency_error(queue: BatchQueue, held: Sequence[Arrived], share: float | None, near_rps: float) -> LatencyError:
    """The error of the slowest latencies near a rate.

    Each level has its own error besides a common one: by chance, as simulated with other batches; as the replica's
    speed changes from level to level; and the more, the farther its rate is from the one asked for.

    Args:
        queue: the simulated queue.
        held: levels that were held.
        share: share of requests that may be above the limit; None if the limit is on their mean.
        near_rps: the rate.
    """
    tail = 1.0 if share is None else min(1.0, _WIDER * share)
    found = []
    for level in held:
        if level.measured.sum() < interval.FEWEST * interval.SMALLEST:
            continue
        queues = int(np.clip(_REQUESTS // level.due_s.size, _FEWEST, _MOST))
        simulated_s = queue.under(level.due_s - level.due_s[0], queues)[:, level.measured]
        simulated = _log_of_slowest(simulated_s, tail)
        off = float(_log_of_slowest(level.latency_s[level.measured], tail) - simulated.mean())
        far = OFF * math.log(level.rate_rps / near_rps)
        error = math.hypot(max(_LEAST, float(simulated.std(ddof=1))), SPEED, far)
        found.append((off, error))
    return _combined(*np.array(found).reshape(-1, 2).T)


def _combined(off: np.ndarray, error: np.ndarray) -> LatencyError:
    """The common error of all levels; wider if they differ by more than their own errors explain.

    Then each of these is larger by Birge's ratio, as far as that is above 1 (Physical Review 40, 1932).

    Args:
        off: `[n]` what each level shows.
        error: `[n]` its standard error.
    """
    if off.size > 1:
        middle = np.average(off, weights=error**-2)
        error = error * max(1.0, math.sqrt(float(np.sum(((off - middle) / error) ** 2)) / (off.size - 1)))
    weight = OFF**-2 + float(np.sum(error**-2))
    return LatencyError(float(np.sum(off / error**2)) / weight, weight**-0.5)


def _log_of_slowest(latency_s: np.ndarray, tail: float) -> np.ndarray:
    """Logarithm of the mean of the slowest latencies, over the last axis.

    Args:
        latency_s: `[…, n]` latencies.
        tail: share of them that counts.
    """
    count = max(1, round(tail * latency_s.shape[-1]))
    slowest = np.partition(latency_s, latency_s.shape[-1] - count, axis=-1)[..., -count:]
    return np.asarray(np.log(slowest.mean(axis=-1)))
