"""Which of a trial's metrics are modelled, and how samples of them become values of the objective.

Rates and times are positive and act by ratios, so their logarithms are modelled, each separately. One more quantity
is whether a trial *runs*: a metric that is a share (`error_rate`) is mostly 0 or mostly 1, and 0 has no logarithm, so
breaking a limit on it is treated as not running. A limit that the load test keeps by itself, as it looks for the
highest rate within that limit, says nothing about the configuration and is left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from searchers.base import Observation, Problem
from searchers.objective import Metrics, Objective
from searchers.quantities import PRICE

FEASIBLE = "runs"
"""Name of the quantity that is 1 for a trial that ran and -1 for one that did not; a sample above 0 means it runs."""

Bounds = tuple[tuple[str, float, float], ...]
"""Limits on shares: name, least and most."""


@dataclass(frozen=True)
class MetricModel:
    """Which metrics of a problem are modelled.

    Args:
        metrics: names of the modelled metrics, in order.
        shares: limits on shares, which decide whether a trial counts as one that runs.
    """

    metrics: tuple[str, ...]
    shares: Bounds = ()

    @property
    def quantities(self) -> tuple[str, ...]:
        """Names of all modelled quantities: the metrics, and whether a trial runs."""
        return (*self.metrics, FEASIBLE)

    def measured(self, observed: Iterable[Observation], quantity: str) -> tuple[np.ndarray, np.ndarray]:
        """`[k]` distinct positions where the quantity was measured, and `[k]` the mean of its measurements at each.

        Measurements are logarithms, or 1 and -1 for `FEASIBLE`.
        """
        found: dict[int, list[float]] = {}
        for each in observed:
            if quantity == FEASIBLE:
                found.setdefault(each.position, []).append(1.0 if self._runs(each.metrics) else -1.0)
            elif each.metrics is not None and 0 < each.metrics.get(quantity, 0) < np.inf:
                found.setdefault(each.position, []).append(float(np.log(each.metrics[quantity])))
        return np.array(list(found), dtype=int), np.array([np.mean(values) for values in found.values()])

    def _runs(self, metrics: Metrics | None) -> bool:
        return metrics is not None and all(
            name not in metrics or least <= metrics[name] <= most for name, least, most in self.shares
        )


def metric_model_of(problem: Problem) -> tuple[MetricModel, Objective]:
    """The metric model of a problem, and its objective with limits on modelled metrics only."""
    objective = problem.objective
    shares = {name for name in objective.limited if problem.is_share(name)}
    told = problem.kept | shares
    over = replace(
        objective,
        at_most={name: most for name, most in objective.at_most.items() if name not in told},
        at_least={name: least for name, least in objective.at_least.items() if name not in told},
    )
    metrics = (over.goal.names | set(over.limited)) - {PRICE}
    bounds = tuple(
        (name, objective.at_least.get(name, -math.inf), objective.at_most.get(name, math.inf))
        for name in sorted(shares)
    )
    return MetricModel(tuple(sorted(metrics)), bounds), over


def values(objective: Objective, drawn: Mapping[str, np.ndarray], usd_per_hour: np.ndarray) -> np.ndarray:
    """`[S, n]` values under the objective, from samples of every quantity; 0 for infeasible configurations."""
    metrics = {name: np.exp(np.clip(logs, -50, 50)) for name, logs in drawn.items() if name != FEASIBLE}
    return np.where(drawn[FEASIBLE] > 0, objective.values(metrics, usd_per_hour.astype(drawn[FEASIBLE].dtype)), 0.0)
