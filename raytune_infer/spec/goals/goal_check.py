"""Checks that an objective can be searched for, and that its metrics are measured where its author thinks they are."""

from __future__ import annotations

import math
from collections.abc import Mapping

from raytune_infer.spec.document import shown
from raytune_infer.spec.goals.value_range import Range, value_range
from raytune_infer.spec.spec_errors import At
from searchers.objective import Objective
from searchers.quantities import PRICE
from serve_deployments.metrics.metric_table import MISSED, Metric, metric_of


def check_positive(objective: Objective) -> None:
    """Refuse a goal that can be negative: configurations are compared by ratio, and one at or below 0 is infeasible.

    Raises:
        At: the goal can be negative, or is never above 0.
    """
    goal = objective.goal
    low, high = value_range(goal.body, {name: _range(name) for name in goal.names})
    if low >= 0 and high > 0:
        return
    key, other = ("minimize", "maximize") if objective.minimize else ("maximize", "minimize")
    if goal.text.startswith("-") and high <= 0:
        remedy = f"write `{other}: {goal.text[1:].strip()}`"
    else:
        remedy = "use a quotient such as `rps / p99_ms`, or keep one metric as the goal and limit the others"
    raise At(("objective", key), f"{shown(goal.text)} is not always positive, as it must be; {remedy}")


def check_limits(objective: Objective, find: str | None) -> None:
    """Refuse a limit on a latency where a load test looks for the peak, at which alone it would be judged.

    Args:
        objective: goal and limits.
        find: what the load test looks for, as `load.find` has it.

    Raises:
        At: there is such a limit.
    """
    limited = sorted(filter(_is_latency, objective.at_most))
    if find == "peak" and (limited or MISSED in objective.at_most):
        raise At(
            ("limits", limited[0] if limited else "attainment"),
            "with `load.find: peak` it would be judged at the peak rate alone; leave out `load.find` to find the "
            "highest rate that keeps it, or leave out the limit",
        )


def check_rate(objective: Objective) -> None:
    """Refuse to optimise a latency at a rate that `at_least` names: it is measured at another one.

    Raises:
        At: the goal contains a latency, and there is a lower bound on `rps`.
    """
    optimised = sorted(filter(_is_latency, objective.goal.names))
    if optimised and (rate_rps := objective.at_least.get("rps")) is not None:
        raise At(
            ("objective", "at_least", "rps"),
            f"{optimised[0]} is measured at the highest rate of each configuration, not at {rate_rps:g} requests/s; "
            f"maximize rps with a limit on {optimised[0]} instead, or leave out the lower bound on rps",
        )


def check_bounds(bounds: Mapping[tuple[str, ...], Mapping[str, float]]) -> None:
    """Refuse bounds that no value of their metric can reach, such as a share in percent.

    Args:
        bounds: place in the file → metric → its bound.

    Raises:
        At: a bound is outside the values that its metric can have.
    """
    for place, named in bounds.items():
        for name, bound in named.items():
            if (why := out_of_range(name, bound)) is not None:
                raise At((*place, name), why)


def out_of_range(name: str, bound: float) -> str | None:
    """Return that a bound is outside the values that its metric can have, with the remedy; None if it is not."""
    low, high = _range(name)
    if low <= bound <= high:
        return None
    if high == math.inf:
        return f"{name} is {low:g} or more, got {bound:g}; write a number of {low:g} or more"
    share = "a share " if (low, high) == (0.0, 1.0) else ""
    percent = share and 1 < bound <= 100
    remedy = f"for {bound:g} % write {bound / 100:g}" if percent else "write a number in that range"
    return f"{name} is {share}from {low:g} to {high:g}, got {bound:g}; {remedy}"


def is_of_answers(name: str) -> bool:
    """Whether this is a metric of what a configuration answers, which is known before any load."""
    metric = metric_of(name)
    return metric is not None and metric.of_answers


def is_lower_bound(name: str) -> bool:
    """Whether a limit on this metric is a lower bound."""
    metric = metric_of(name)
    return metric is not None and metric.is_limited_below


def _range(name: str) -> Range:
    """Return the lowest and highest value of a quantity: shares are at most 1; a suite may have metrics of its own."""
    metric = None if name == PRICE else metric_of(name)
    if metric is None:
        return 0.0, math.inf
    return (0.0, 1.0) if metric.is_share else metric.range


def _metric(name: str) -> Metric:
    metric = metric_of(name)
    assert metric is not None, "checked before"
    return metric


def _is_latency(name: str) -> bool:
    return name != PRICE and _metric(name).time is not None
