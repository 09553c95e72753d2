"""Which configuration surely counts and surely is better than another, by the intervals of their rates.

A bound on a rate, such as the load that a replica must carry, is kept or broken by a rate that is known only within its
interval: so a configuration surely counts only where both ends of it keep the bound, and may count where one does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from raytune_infer.comparing.comparison import Comparison
from raytune_infer.ranking.goal_value import value_now
from raytune_infer.ranking.ranked import Ranked, margin, surely_better, value_between
from raytune_infer.ranking.recommendation import Recommendation
from raytune_infer.report.level_figures import measured
from searchers.objective import Metrics
from searchers.space import Config
from serve_deployments.metrics.metric_table import metric_of


def everything(found: Recommendation) -> Sequence[Ranked]:
    """Return all configurations of a ranking, those that count first."""
    return (*found.ranked, *found.others)


def counts_for_sure(found: Recommendation, r: Ranked) -> bool:
    """Whether a configuration counts wherever in its interval its rate is."""
    return r.value is not None and not any(map(found.objective.broken, _at_ends(found, r)))


def may_count(found: Recommendation, r: Ranked) -> bool:
    """Whether a configuration counts at its rate or, where a bound is on a rate, at an end of its interval."""
    if r.value is not None or not _bounds_on_rates(found):
        return r.value is not None
    return any(not found.objective.broken(metrics) for metrics in _at_ends(found, r))


def is_worse(found: Recommendation, other: Ranked, config: Config) -> bool:
    """Whether another is surely worse than this one: by the intervals of both, or by the most that it could be."""
    mine = _of(found, config)
    if mine is None or not counts_for_sure(found, mine):
        return False
    if other.value is None and (other.could_be or 0.0) >= value_between(mine, found.objective).low:
        return False
    counted = _as_if_counting(found, other) if may_count(found, other) else None
    return counted is None or surely_better(mine, counted, found.objective, compared(found))


def beats(found: Recommendation, config: Config, behind: Sequence[Config]) -> bool:
    """Whether it surely counts and none of these may be better."""
    mine = _of(found, config)
    if mine is None or not counts_for_sure(found, mine):
        return False
    return all(is_worse(found, r, config) for r in everything(found) if r.config in behind)


def surely_other(found: Recommendation, config: Config) -> bool:
    """Whether what `recommend` names surely counts and is better than this one, or nothing can count any more."""
    mine, best = _of(found, config), found.best
    if best is None:
        return all(not r.could_be and not may_count(found, r) for r in everything(found))
    if best.config == config or mine is None:
        return best.config != config and counts_for_sure(found, best)
    return is_worse(found, mine, best.config)


def tied(found: Recommendation, config: Config) -> bool:
    """Whether a configuration that counts is not surely worse than this one."""
    return any(not is_worse(found, r, config) for r in found.ranked if r.config != config)


def log_margins(found: Recommendation, one: Ranked, other: Ranked) -> Iterator[float]:
    """Yield the logarithms of one's value over another's at which who is better, or surely better, changes.

    Of one that does not count the most that it could be stands for its value, as in `is_worse`.
    """
    yield 0.0
    if one.value is not None and other.value is not None:
        yield margin(one, other, found.objective, compared(found))
        yield -margin(other, one, found.objective, compared(found))
    elif one.value is not None:
        yield math.log(one.value / value_between(one, found.objective).low)


def compared(found: Recommendation) -> Comparison:
    """Return the comparison under this question; one without contestants where it does not hold."""
    return found.comparison or Comparison((), (), None, None)


def _of(found: Recommendation, config: Config) -> Ranked | None:
    return next((r for r in everything(found) if r.config == config), None)


def _bounds_on_rates(found: Recommendation) -> list[str]:
    named = {name: metric_of(name) for name in found.objective.at_least}
    return [name for name, metric in named.items() if metric is not None and metric.unit.endswith("/s")]


def _at_ends(found: Recommendation, r: Ranked) -> Iterator[Metrics]:
    """Yield the limited metrics at both ends of the rate's interval; what counts per second goes with the rate."""
    metrics, names = measured(r, found.objective.limited), _bounds_on_rates(found)
    if not metrics:
        return
    for rps in r.known.interval_rps or (r.known.at_least_rps,):
        by = rps / r.known.at_least_rps
        yield {**metrics, **{name: metrics[name] * by for name in names if name in metrics}}


def _as_if_counting(found: Recommendation, r: Ranked) -> Ranked | None:
    """Return a configuration that may count with the value that it then has; None if it has none."""
    if r.value is not None:
        return r
    free = replace(found.objective, at_most={}, at_least={})
    figure, value = value_now(free, r.known, r.answers, r.usd_per_hour)
    return None if value is None else replace(r, figure=figure, value=value)
