"""How far the simulated latencies of a replica are off, from levels that are simulated with their own arrivals.

What a short level shows depends on when its requests happened to arrive, and on which batches happened to be slow. A
queue under the very same arrivals, with the very same batches, had the same luck, so the difference between what was
measured and what is simulated is free of it: a control variate (Lavenberg and Welch, Management Science 27, 1981). It
is regressed towards zero, as a simulated latency is seldom far off, and the rest of it corrects what the queue says of
the long run.
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
from serve_deployments.resources.usage import BatchTime, Usage

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
        batches: the level's batches from the first on, in order; empty if they are not known.
    """

    rate_rps: float
    due_s: np.ndarray
    latency_s: np.ndarray
    measured: np.ndarray
    batches: tuple[BatchTime, ...] = ()

    @classmethod
    def of(cls, rate_rps: float, requests: Requests, measured: np.ndarray, usage: Usage | None = None) -> Self:
        """The requests of a level.

        Args:
            rate_rps: its rate.
            requests: its requests in the order of their ends.
            measured: which of them are measured; of these, failed ones are not.
            usage: the usage of its replica; None: not reported.
        """
        order = np.argsort(requests.due_s, kind="stable")
        # Of very many batches only the last are reported: which requests were in them is then not known.
        whole = usage is not None and sum(usage.batches.values()) == len(usage.recent)
        return cls(
            rate_rps, requests.due_s[order], requests.latency_s[order], (measured & ~requests.failed)[order],
            usage.recent if usage is not None and whole else (),
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


def slowest_tail(share: float | None) -> float:
    """Share of the requests, the slowest, that decide a limit and are compared.

    Args:
        share: share of requests that may be above the limit; None if the limit is on their mean.
    """
    return 1.0 if share is None else min(1.0, _WIDER * share)


def latency_error(queue: BatchQueue, held: Sequence[Arrived], share: float | None, near_rps: float) -> LatencyError:
    """The error of the slowest latencies near a rate.

    Each level has its own error besides a common one: by chance, if it is simulated with other batches; as the
    replica's speed changes from level to level; and the more, the farther its rate is from the one asked for.

    Args:
        queue: the simulated queue.
        held: levels that were held.
        share: share of requests that may be above the limit; None if the limit is on their mean.
        near_rps: the rate.
    """
    tail = slowest_tail(share)
    found = []
    for level in held:
        if level.measured.sum() < interval.FEWEST * interval.SMALLEST:
            continue
        simulated = _log_of_slowest(_simulated_s(queue, level), tail)
        off = float(_log_of_slowest(level.latency_s[level.measured], tail) - simulated.mean())
        far = OFF * math.log(level.rate_rps / near_rps)
        by_batches = float(simulated.std(ddof=1)) if simulated.size > 1 else 0.0
        found.append((off, math.hypot(max(_LEAST, by_batches), SPEED, far)))
    return _combined(*np.array(found).reshape(-1, 2).T)


def _simulated_s(queue: BatchQueue, level: Arrived) -> np.ndarray:
    """`[queues, n]` latencies in seconds of a level's measured requests as the queue simulates them.

    With the level's own batches, where they are known, the luck of their times is the level's, too: one queue. Else
    queues that begin at any of the batches show how much that luck does.
    """
    arrived_s = level.due_s - level.due_s[0]
    if level.batches:
        return queue.with_batches(level.batches).latencies_s(arrived_s[None], np.zeros(1, dtype=int))[:, level.measured]
    queues = int(np.clip(_REQUESTS // level.due_s.size, _FEWEST, _MOST))
    return queue.under(arrived_s, queues)[:, level.measured]


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
