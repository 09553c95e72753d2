"""Limits on a level: which are broken, by how much, and what a limit implies for the load."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from serve_deployments.metrics.level_result import LevelResult
from serve_deployments.metrics.metric_table import METRICS, Metric, metric_of

LOST_TAIL = 3  # a limit on the tail is lost with this many times rate x limit in flight (our choice)
_LOST_BULK = 10  # the same for other limits, which may survive a short stall (our choice)
_NO_QUEUE = 16  # requests in flight that do not count as a queue: about a batch


def room(level: LevelResult, at_most: Mapping[str, float]) -> float:
    """The smallest ratio of limit to value over the limits on times, at least 1; 1 if there is no such limit."""
    values = {name: level.value(name) for name in _limits_on(at_most, lambda metric: metric.time is not None)}
    return max(1.0, min((at_most[name] / value for name, value in values.items() if value), default=1.0))


def broken(level: LevelResult, at_most: Mapping[str, float]) -> tuple[str, ...]:
    """Names of the limits that a level breaks; an overloaded level breaks all."""
    if level.overloaded:
        return tuple(at_most)
    metrics = level.with_metrics(at_most)
    return tuple(name for name, limit in at_most.items() if not metrics.get(name, math.inf) <= limit)


def excess(level: LevelResult, at_most: Mapping[str, float]) -> str:
    """A readable account of the limits that a level breaks: "p99_ms is 120, the limit 100"."""
    metrics = level.with_metrics(at_most)
    over = [
        f"{name} is {metrics[name]:.4g}, the limit {limit:.4g}" if name in metrics else f"{name} has no value"
        for name, limit in at_most.items()
        if not metrics.get(name, math.inf) <= limit
    ]
    if level.overloaded:
        over.append(f"overloaded, only {level.achieved_rps:.3g} requests/s were answered")
    return ", ".join(over)


def largest_within(name: str, at_most: Mapping[str, float]) -> float:
    """The largest value that a metric can have where all limits are kept; infinity if none bounds it.

    A limit on the p99 bounds the p95 too, as the p95 is never above the p99.
    """
    metric = metric_of(name)
    above = {} if metric is None else _limits_on(at_most, metric.is_never_above)
    return min([at_most.get(name, math.inf), *above.values()])


def tightest_ms(at_most: Mapping[str, float]) -> float:
    """The lowest limit on how long requests stay in the system, in ms; infinity if there is none."""
    return min(_limits_on(at_most, lambda metric: metric.is_sojourn).values(), default=math.inf)


def tightest_s(at_most: Mapping[str, float]) -> float:
    """`tightest_ms` in seconds."""
    return tightest_ms(at_most) / 1e3


def most_in_flight(rate_rps: float, at_most: Mapping[str, float]) -> int | None:
    """Number of requests in flight that shows that a latency limit is lost, so that the level can stop at once.

    Little's law: with more than rate x limit in flight, the mean latency is above the limit; a margin allows for
    chance. None if there is no limit on a latency.
    """
    tails = _limits_on(at_most, lambda metric: metric.is_sojourn and metric.is_tail).values()
    bulks = _limits_on(at_most, lambda metric: metric.is_sojourn and not metric.is_tail).values()
    limits = [*(LOST_TAIL * limit / 1e3 for limit in tails), *(_LOST_BULK * limit / 1e3 for limit in bulks)]
    return max(_NO_QUEUE, math.ceil(rate_rps * min(limits))) if limits else None


def check(at_most: Mapping[str, float]) -> None:
    """Checks the limits.

    Raises:
        ValueError: a limit is on something that is not measured or is negative, or there is no limit.
    """
    unknown = sorted(set(at_most) - set(_limits_on(at_most, _of_load)))
    if unknown or not at_most:
        wrong = f"{', '.join(unknown)} cannot be limited" if unknown else "no limit was given"
        known = ", ".join(name for name, metric in METRICS.items() if _of_load(metric))
        raise ValueError(f"{wrong}; limits are possible on {known}; without limits, use peak_rate")
    for name, limit in at_most.items():
        if not limit >= 0:
            raise ValueError(f"the limit of {name} must be 0 or more, got {limit}")


def _of_load(metric: Metric) -> bool:
    """Whether a load test can keep a limit on it: an upper one, on what it measures itself."""
    return metric.is_limited_above and not metric.of_answers


def _limits_on(at_most: Mapping[str, float], wanted: Callable[[Metric], bool]) -> dict[str, float]:
    """The limits whose metric is wanted."""
    metrics = {name: metric_of(name) for name in at_most}
    return {name: at_most[name] for name, metric in metrics.items() if metric is not None and wanted(metric)}
