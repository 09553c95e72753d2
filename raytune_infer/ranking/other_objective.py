"""A changed objective for the trials of a finished run: other limits, another goal, other lower bounds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from cluster.prices import PriceBook
from raytune_infer.errors import UserError
from raytune_infer.ranking.goal_value import usd_per_hour_of
from raytune_infer.ranking.limits import Limits
from raytune_infer.spec.goals.goal_check import check_positive, check_rate, is_lower_bound, is_of_answers, out_of_range
from raytune_infer.spec.spec_errors import At
from raytune_infer.store.records import TrialRecord
from searchers.objective import Expression, Objective
from searchers.quantities import PRICE
from serve_deployments.metrics.metric_table import listed, metric_of

Bounds = Mapping[str, float | None]
"""Metric → bound; None removes the run's own bound."""

_ALIKE = 1e-9
"""Relative distance of two numbers that only rounding tells apart."""


def changed(
    objective: Objective,
    *,
    limits: Bounds | None = None,
    at_least: Bounds | None = None,
    maximize: str | None = None,
    minimize: str | None = None,
) -> Objective:
    """Return the run's objective with other bounds or another goal; everything else stays as it was.

    Raises:
        UserError: a metric is not measured, a bound or an expression is invalid, there are two goals, or the goal and
            the bounds together ask for what is not measured.
    """
    if maximize is not None and minimize is not None:
        raise UserError(f"{maximize!r} is to be maximised and {minimize!r} minimised; give one goal")
    upper, lower = dict(limits or {}), dict(at_least or {})
    for name in limits or {}:
        if is_lower_bound(name):
            lower.setdefault(name, upper.pop(name))
        elif (metric := metric_of(name)) is not None and not metric.is_limited_above:
            raise UserError(f"a limit is an upper bound; for {name} give a lower bound with `--at-least {name}=…`")
    for bounds in (upper, lower):
        for name, bound in bounds.items():
            _check(name)
            if bound is not None and not (math.isfinite(bound) and bound >= 0):
                raise UserError(f"the bound of {name} must be a number, 0 or more, got {bound}")
            if bound is not None and (why := out_of_range(name, bound)) is not None:
                raise UserError(why)
    text = maximize if maximize is not None else minimize
    other = replace(
        objective,
        goal=objective.goal if text is None else _goal(text),
        minimize=objective.minimize if text is None else minimize is not None,
        at_most=_merged(objective.at_most, upper),
        at_least=_merged(objective.at_least, lower),
    )
    if other != objective:  # the run's own may be of a version that did not refuse it
        _check_goal(other)
    return other


def limits_on_load(objective: Objective, held_under: Mapping[str, float], trials: Sequence[TrialRecord]) -> Limits:
    """Return an objective's limits on a load; the run's own if they differ only in what bound no level of any trial.

    Args:
        objective: the objective.
        held_under: the run's own limits on a load.
        trials: the run's trials.
    """
    limits = Limits({n: at for n, at in objective.at_most.items() if n != PRICE and not is_of_answers(n)}, held_under)
    bound = limits.that_bound([level for t in trials for level in t.outcome.levels])
    return limits.of_the_run if bound.unchanged else limits


def same_question(
    objective: Objective,
    own: Objective,
    held_under: Mapping[str, float],
    trials: Sequence[TrialRecord],
    book: PriceBook | None = None,
) -> bool:
    """Return whether an objective asks of the run's trials what the run's own does.

    It does if it judges all of them alike: the same ones count, and their values differ by one factor at most. So a
    limit or a price that changes nothing, or a goal that orders all of them in the same way, makes no other question.

    Args:
        objective: the objective that is asked for.
        own: the run's own.
        held_under: the run's own limits on a load.
        trials: the run's trials.
        book: the price book that is asked for; None for the recorded prices.

    Raises:
        UserError: the objective needs a price that is unknown.
    """
    if objective == own and book is None:
        return True
    if not limits_on_load(objective, held_under, trials).unchanged or any(lets_in(objective, t) for t in trials):
        return False
    on_answers = {n: at for n, at in objective.at_most.items() if n == PRICE or is_of_answers(n)}
    # A trial does not tell every percentile, and those that bind no level have just been dropped.
    asked = replace(objective, at_most={**held_under, **on_answers})
    factors = []
    for t in (t for t in trials if t.outcome.levels):
        value = asked.value(t.outcome.metrics, usd_per_hour_of(t, book, objective))
        before = own.value(t.outcome.metrics, t.usd_per_hour)
        if (value is None) != (before is None):
            return False
        factors += [] if value is None or before is None else [value / before]
    return all(math.isclose(factor, factors[0], rel_tol=_ALIKE) for factor in factors)


def lets_in(objective: Objective, trial: TrialRecord) -> bool:
    """Return whether a trial that broke a limit of the run on answers, and was not loaded, keeps those of this one."""
    return trial.outcome.answered_too_differently and not any(map(is_of_answers, objective.broken(trial.metrics)))


def bounds(texts: Sequence[str], option: str) -> dict[str, float | None]:
    """Parse bounds from texts such as `["p99_ms=50", "error_rate=none"]`.

    Args:
        texts: the texts as typed by the user.
        option: name of the command-line option, for error messages.

    Raises:
        UserError: a text is not of that form, or a metric occurs twice.
    """
    found: dict[str, float | None] = {}
    for text in texts:
        name, equals, number = (part.strip() for part in text.partition("="))
        try:
            bound = None if number == "none" else float(number)
        except ValueError:
            bound = math.nan
        if not (name and equals) or (bound is not None and math.isnan(bound)):
            raise UserError(
                f"{option} {text}: a metric and a number are needed, as in `{option} p99_ms=50`; "
                "`=none` removes the run's own bound"
            )
        if name in found:
            raise UserError(f"{option} names {name} twice; keep one of them")
        found[name] = bound
    return found


def _goal(text: str) -> Expression:
    try:
        goal = Expression(text)
    except ValueError as error:
        raise UserError(str(error)) from None
    for name in sorted(goal.names):
        _check(name)
    return goal


def _check_goal(objective: Objective) -> None:
    try:
        check_positive(objective)
    except At as error:
        raise UserError(str(error)) from None
    try:
        check_rate(objective)
    except At as error:
        raise UserError(f"{error} with `--at-least rps=none`") from None


def _check(name: str) -> None:
    if name != PRICE and metric_of(name) is None:
        raise UserError(
            f"{name!r} is not measured; there are {listed()}, {PRICE}, "
            "and any other percentile, such as p97_ms or p9995_ms (99.95 %)"
        )


def _merged(before: Mapping[str, float], other: Bounds) -> dict[str, float]:
    return {name: bound for name, bound in {**before, **other}.items() if bound is not None}
