"""Limits and levels: which are broken, by how much, and what follows from a limit for the load."""

from __future__ import annotations

import math
from collections.abc import Mapping

from serve_deployments.measurement import LATENCIES, Load

_TAILS = ("p95_ms", "p99_ms", "p999_ms", "max_ms")
LOST_TAIL = 3  # times rate x limit in flight are no accident to a limit on the tail (our choice)
_LOST_BULK = 10  # one on the bulk may survive a short stall (our choice)
_NO_QUEUE = 16  # in flight: about a batch


def room(load: Load, at_most: Mapping[str, float]) -> float:
    """The smallest of limit over latency, 1 at least; 1 where no limit is on a latency."""
    rooms = [at_most[name] / value for name, value in load.latencies.known.items() if name in at_most and value > 0]
    return max(1.0, min(rooms, default=1.0))


def broken(load: Load, at_most: Mapping[str, float]) -> tuple[str, ...]:
    """Names of the limits that a level does not keep; an overloaded level keeps none."""
    if load.overloaded:
        return tuple(at_most)
    metrics = load.metrics
    return tuple(name for name, limit in at_most.items() if not metrics.get(name, math.inf) <= limit)


def excess(load: Load, at_most: Mapping[str, float]) -> str:
    """For people: "p99_ms is 120, the limit 100"."""
    metrics = load.metrics
    over = [
        f"{name} is {metrics[name]:.4g}, the limit {limit:.4g}" if name in metrics else f"{name} has no value"
        for name, limit in at_most.items()
        if not metrics.get(name, math.inf) <= limit
    ]
    if load.overloaded:
        over.append(f"overloaded, only {load.achieved_rps:.3g} requests/s were answered")
    return ", ".join(over)


def tightest_s(at_most: Mapping[str, float]) -> float:
    """The lowest latency limit; infinity if there is none."""
    return min((at_most[name] / 1e3 for name in LATENCIES if name in at_most), default=math.inf)


def most_in_flight(rate_rps: float, at_most: Mapping[str, float]) -> int | None:
    """How many requests in flight prove that a latency limit is lost, so that the level can stop at once.

    Little's law: with more than rate x limit in flight the mean latency is above the limit.
    """
    factors = {name: LOST_TAIL if name in _TAILS else _LOST_BULK for name in LATENCIES}
    limits = [factors[name] * limit / 1e3 for name, limit in at_most.items() if name in factors]
    return max(_NO_QUEUE, math.ceil(rate_rps * min(limits))) if limits else None


def check(at_most: Mapping[str, float]) -> None:
    """ValueError for limits on what is not measured, none at all, or such as no latency can keep."""
    known = (*LATENCIES, "error_rate")
    unknown = sorted(set(at_most) - set(known))
    if unknown or not at_most:
        asked = f"a limit on {', '.join(unknown)}" if unknown else "no limit"
        raise ValueError(f"{asked} was asked for; there are {', '.join(known)}; without limits use peak_rate")
    for name, limit in at_most.items():
        if not limit >= 0:
            raise ValueError(f"the limit of {name} must be 0 or more, got {limit}")
