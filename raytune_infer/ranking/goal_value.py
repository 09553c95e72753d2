"""The goal of a ranking at the rates that a configuration's levels have shown, or leave possible, and at its price."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from cluster.prices import NoPrice, PriceBook
from raytune_infer.errors import UserError
from raytune_infer.ranking.rate_bounds import RateBounds
from raytune_infer.spec.demand import price
from raytune_infer.spec.goals.goal_check import is_of_answers
from raytune_infer.store.records import TrialRecord
from searchers.objective import Metrics, Objective
from searchers.quantities import PRICE
from serve_deployments.measuring.predicting.estimating import at_other_rate
from serve_deployments.measuring.slo import largest_within
from serve_deployments.metrics.answers.agreement import AnswerAgreement
from serve_deployments.metrics.level_result import LevelResult

_BOUNDLESS_RPS = 1e9
"""Stands for an unbounded rate: more than any replica can do, so that a goal that grows with the rate wins."""


def _names(objective: Objective) -> tuple[str, ...]:
    return tuple({*objective.goal.names, *objective.limited} - {PRICE})


def _figures(answers: AnswerAgreement | None) -> Metrics:
    return {} if answers is None else answers.figures


def value_now(
    objective: Objective, known: RateBounds, answers: AnswerAgreement | None, usd_per_hour: float
) -> tuple[float, float | None]:
    """Return the goal and the value at the highest level that kept the limits."""
    if known.level is None:
        return math.nan, None
    return _judged(objective, {**known.level.with_metrics(_names(objective)), **_figures(answers)}, usd_per_hour)


def value_possible(
    objective: Objective,
    known: RateBounds,
    levels: Sequence[LevelResult],
    answers: AnswerAgreement | None,
    usd_per_hour: float,
) -> float | None:
    """Return the value that the configuration would have if every rate up to `at_most_rps` kept the limits.

    The other metrics are taken from the highest level that kept the limits or, if none did, from the lightest measured
    load; one that is above what the limits allow is set to that, and a limited one that is missing to its limit.
    """
    base = known.level or min(levels, key=lambda level: (level.mode == "open", level.asked))
    metrics = {**base.with_metrics(_names(objective)), **_figures(answers)}
    # No other rate changes the price or the answers.
    at_most = {name: at for name, at in objective.at_most.items() if name != PRICE and not is_of_answers(name)}
    metrics = at_most | {name: min(value, largest_within(name, at_most)) for name, value in metrics.items()}
    rates = {min(known.at_most_rps, _BOUNDLESS_RPS), known.at_least_rps} - {0.0}
    values = [
        _judged(objective, {**at_other_rate(metrics, base.rate_rps, rps), "rps": rps}, usd_per_hour)[1] for rps in rates
    ]
    return max((value for value in values if value is not None), default=None)


def _judged(objective: Objective, metrics: Mapping[str, float], usd_per_hour: float) -> tuple[float, float | None]:
    """Return the goal and the value; NaN and None if a metric of the goal has no value because nothing was answered."""
    return objective.figure(metrics, usd_per_hour), objective.value(metrics, usd_per_hour)


def is_of_rate(objective: Objective) -> bool:
    """Whether the rate is all that a load test says of the goal: prices are exact, answers the same at any rate."""
    return {name for name in objective.goal.names - {PRICE} if not is_of_answers(name)} == {"rps"}


def figures_between(
    objective: Objective, interval_rps: tuple[float, float] | None, others: Metrics, usd_per_hour: float
) -> tuple[float, float] | None:
    """Return the interval of the goal's figure that follows from that of the rate, the smaller end first.

    Args:
        objective: the goal.
        interval_rps: the rate's interval in requests/s; None where there is none.
        others: the metrics beside the rate that are known, those of the answers among them.
        usd_per_hour: price of the replica.

    Returns:
        The interval; None if there is none, more than the rate is measured for the goal, or an end is not finite.
    """
    if interval_rps is None or not is_of_rate(objective):
        return None
    low, high = sorted(objective.figure({**others, "rps": rps}, usd_per_hour) for rps in interval_rps)
    return (low, high) if math.isfinite(low) and math.isfinite(high) else None


def usd_per_hour_of(trial: TrialRecord, book: PriceBook | None, objective: Objective) -> float:
    """Return the recorded price of a trial or, with a book, the price of its knobs; neither needs the cluster.

    Raises:
        UserError: the objective needs a price that is not known.
    """
    needed = PRICE in (*objective.goal.names, *objective.limited)
    if book is None:
        if needed and math.isnan(trial.usd_per_hour):
            raise UserError(
                f"the objective needs prices, and the run has none for trial {trial.number} ({trial.config}); "
                "name a price book that has them with --prices"
            )
        return trial.usd_per_hour
    try:
        return price(trial.config, book)
    except NoPrice as error:
        if not needed:
            return math.nan
        raise UserError(f"the objective needs prices: {error}") from None
