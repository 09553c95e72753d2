"""Stalls of a replica that other work on its cores explains: times in which requests waited and none was answered.

A share of slow requests that no rate explains, like the lapses of an observer in a psychometric function, spoils the
estimate of a threshold if it is not part of the model (Wichmann and Hill, Perception & Psychophysics 63, 2001). Whose
they are decides what they mean. Slow requests of the service itself, such as long samples or garbage collections, count
against its limits, as users will see them too. A stall is not the service's if other processes had its cores meanwhile,
so three things are asked of it:

- nobody was answered: a time in which a request waits and the replica answers none at all;
- it is longer by far than the other such times of the level, as batches are;
- beyond what they do all the time, other processes used all of the replica's cores for as long as it took, or longer.

What they do all the time is the least share of the cores that they had in any other level of the search: it was there,
too, when the service did not stall. If there is no other level, nothing is taken for a stall of theirs.

The requests that it delayed, until no more are in flight than before it, say nothing about the service, at no rate.
They are left out of what decides about a limit, and reported apart, as a share.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from serve_deployments.load.events import Events
from serve_deployments.resources.usage import Usage

_FENCE = 3.0
"""Interquartile ranges above the upper quartile, of the logarithms, from which on a value is far out (Tukey,
Exploratory Data Analysis, 1977, section 2D)."""

_LONGER = 2.0  # times the median: of batches that all take the same, the quartiles are equal (our choice)
_TICK_S = 0.01  # resolution of the CPU times of a Linux system (USER_HZ of 100)
_FEWEST = 8  # our choice: quartiles of fewer values say nothing

LAPSE_PRIOR = (1.0, 10.0)
"""Parameters of the beta distribution that is the prior of a share of lapses (Schütt, Harmeling, Macke and Wichmann,
Vision Research 122, 2016, section 2.2)."""


class Stall(NamedTuple):
    """A time in which the replica answered nobody though a request waited.

    Args:
        at: place of the request at whose end it was over, among those that have ended.
        length_s: how much longer it was than such times are otherwise.
    """

    at: int
    length_s: float


def background_share(usages: Iterable[Usage | None]) -> float | None:
    """Least share of the replica's cores that other processes had in a level; None if no level reported it.

    Each counts with what the resolution of CPU times may have hidden: much in a level of a fraction of a second.

    Args:
        usages: the usages of the levels, None for those that reported none.
    """
    shares = [(u.others_s + _TICK_S * _cores(u)) / u.cores_s for u in usages if u is not None and u.cores_s > 0]
    return min(shares, default=None)


def taken_s(usage: Usage | None, background: float | None) -> float:
    """Longest time in which other work, beyond what there is all the time, can have had all of the replica's cores.

    Args:
        usage: the usage of a level; None if it was not reported.
        background: the share that other processes have of the cores all the time; None if it is not known.
    """
    if usage is None or background is None or usage.cores_s <= 0:
        return 0.0
    return max(0.0, usage.others_s - background * usage.cores_s) / _cores(usage)


def _cores(usage: Usage) -> float:
    """The mean number of cores that the replica was pinned to."""
    return usage.cores_s / usage.seconds if usage.seconds else 1.0


def stalls_by_others(events: Events, others_s: float) -> list[Stall]:
    """The stalls of a level that other work explains, the longest first, as long as it explains all of them.

    Args:
        events: the events of the level.
        others_s: how long other work can have had all of the replica's cores meanwhile (`taken_s`).
    """
    requests = events.requests()
    return _explained(requests.due_s, requests.last_s, events.start_s, others_s) if others_s > 0 else []


def delayed_by(events: Events, stalls: Sequence[Stall]) -> np.ndarray:
    """`[n]` which of the requests that have ended were delayed by these stalls, in that order."""
    in_flight = np.asarray(events.in_flight)
    delayed = np.zeros(len(in_flight), dtype=bool)
    for first, _ in stalls:
        before = in_flight[first - 1] if first else 1
        over = np.flatnonzero(in_flight[first:] <= max(before, 1))
        # The one at whose end no more are in flight than before had to wait for the others, too.
        delayed[first : first + int(over[0]) + 1 if over.size else None] = True
    return delayed


def _explained(due_s: np.ndarray, ended_s: np.ndarray, start_s: float, others_s: float) -> list[Stall]:
    waited_s = ended_s - np.maximum(np.concatenate([[start_s], ended_s[:-1]]), due_s)
    # Inside a batch they end together: the time is that of the first.
    pauses_s = waited_s[waited_s >= waited_s.mean() / 2] if waited_s.size else waited_s
    if pauses_s.size < _FEWEST:
        return []
    low, middle_s, high = np.quantile(np.log(np.maximum(pauses_s, 1e-9)), (0.25, 0.5, 0.75))
    fence_s = max(float(np.exp(high + _FENCE * (high - low))), _LONGER * float(np.exp(middle_s)))
    # After a stall a full batch waits, so that the time until its answer has the longest of the others in it.
    ordinary_s = pauses_s[pauses_s <= fence_s].max()
    found: list[Stall] = []
    for at in np.argsort(-waited_s):
        length_s = float(waited_s[at] - ordinary_s)
        others_s -= length_s
        if waited_s[at] <= fence_s or others_s < -_TICK_S:
            break
        found.append(Stall(int(at), length_s))
    return found


def lapse_rate(delayed: int, requests: int) -> float:
    """Share of requests that are slow at every rate: the mean of its posterior; 0 if none was.

    Args:
        delayed: number of requests that stalls delayed.
        requests: number of all requests.
    """
    a, b = LAPSE_PRIOR
    return (delayed + a) / (requests + a + b) if delayed else 0.0
