"""What a trial or a configuration is worth in the goal's own unit, with the interval that follows from its rate's."""

from __future__ import annotations

from raytune_infer.ranking.goal_value import figures_between, is_of_rate
from raytune_infer.report.chart import Axis, Quantity
from searchers.objective import Metrics, Objective


def goal_axis(objective: Objective) -> Axis:
    """Return the axis of the goal's figure."""
    text = objective.goal.text
    return Axis("rate", "requests/s") if text == "rps" else Axis(f"{'least' if objective.minimize else 'most'} {text}")


def goal_figure(
    objective: Objective, figure: float, rate: Quantity | None, others: Metrics, usd_per_hour: float
) -> Quantity:
    """Return a figure of the goal with what its rate says of it.

    A rate gives it an interval, and makes it a bound, only where nothing else that a load test measures is in the goal:
    prices are exact, and answers are the same at any rate.

    Args:
        objective: the goal.
        figure: the goal's figure as it was measured.
        rate: the rate that it was measured at; None if there is none.
        others: the metrics beside the rate that are known, those of the answers among them.
        usd_per_hour: price of the replica.
    """
    if rate is None or not is_of_rate(objective):
        return Quantity(figure, estimated=rate is not None and rate.estimated)

    def at(rps: float) -> float:
        return objective.figure({**others, "rps": rps}, usd_per_hour)

    grows = at(2 * rate.value) > at(rate.value)
    bounds = {"at_least": rate.at_least and grows, "at_most": rate.at_least and not grows}
    interval_rps = None if rate.low is None or rate.high is None else (rate.low, rate.high)
    if (ends := figures_between(objective, interval_rps, others, usd_per_hour)) is None:
        return Quantity(figure, estimated=rate.estimated, **bounds)
    return Quantity(figure, min(ends[0], figure), max(ends[1], figure), estimated=rate.estimated, **bounds)
