"""Observations in the terms of libraries whose constraints are numbers that are broken above 0."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from searchers.base import History, Observation, Problem
from searchers.quantities import PRICE

MEASURED = "measured"
"""The constraint that a trial ran and measured the goal and every metric with a limit: -1 if it did, 1 if not."""
_MOST = 3.0
"""Largest constraint value, and least one's negative. Our choice: a factor of 20 is as far off as any."""


def figures_and_constraints(problem: Problem, history: History) -> tuple[np.ndarray, tuple[Mapping[str, float], ...]]:
    """`[k]` ln(value) of each observation regardless of limits, less the largest one, and its k constraint values.

    The constraints are `MEASURED` and one for each limit: the logarithm of the ratio by which the limit is exceeded or
    missed, the difference for shares and for limits that have no logarithm. What was not measured has the mean of what
    was, as a failure says nothing about it, and the figure of such a trial is the lowest. A limit that the load test
    keeps by itself (`Problem.kept`) is no constraint: a trial that breaks it all the same counts as not measured.
    """
    figures = np.array([_log_figure(problem, o) for o in history.observed])
    limits = {
        f"{name} {way}": np.array([_excess(problem, o, name, limit, sign) for o in history.observed])
        for way, sign, bounds in (
            ("at most", 1, problem.objective.at_most),
            ("at least", -1, problem.objective.at_least),
        )
        for name, limit in bounds.items()
    }
    complete = ~np.isnan([figures, *limits.values()]).any(axis=0)
    for name in problem.kept:
        for way in ("at most", "at least"):
            complete &= ~(limits.pop(f"{name} {way}", np.zeros(len(figures))) > 0)
    constraints = {MEASURED: np.where(complete, -1.0, 1.0)} | {name: _filled(each) for name, each in limits.items()}
    rows = tuple({name: float(each[i]) for name, each in constraints.items()} for i in range(len(figures)))
    lowest, highest = np.nanmin(figures, initial=math.inf), np.nanmax(figures, initial=-math.inf)
    if not math.isfinite(lowest):
        return np.zeros(len(figures)), rows
    return np.where(np.isnan(figures), lowest, figures) - highest, rows


def _log_figure(problem: Problem, observation: Observation) -> float:
    """Logarithm of the value without limits, so that a factor is the same step everywhere; NaN where there is none."""
    if observation.metrics is None:
        return math.nan
    figure = problem.objective.figure(observation.metrics, float(problem.usd_per_hour[observation.position]))
    if not 0 < figure < math.inf:
        return math.nan
    return -math.log(figure) if problem.objective.minimize else math.log(figure)


def _excess(problem: Problem, observation: Observation, name: str, limit: float, sign: int) -> float:
    """By how much a limit is broken, 0 or less where it is kept; NaN where the metric was not measured."""
    price = float(problem.usd_per_hour[observation.position])
    measured = {**(observation.metrics or {}), PRICE: price}.get(name, math.nan)
    if math.isnan(measured) or observation.metrics is None:
        return math.nan
    if problem.is_share(name) or min(measured, limit) <= 0:
        apart = sign * (measured - limit) if measured != limit else 0.0
    else:
        apart = sign * (math.log(measured) - math.log(limit)) if measured != limit else 0.0
    return min(max(apart, -_MOST), _MOST)


def _filled(excess: np.ndarray) -> np.ndarray:
    known = ~np.isnan(excess)
    return np.where(known, excess, excess[known].mean() if known.any() else 0.0)
