"""The final comparison of a run, judged again under another goal or other prices: the same means as when it ended."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from raytune_infer.comparing.comparison import Comparison, compared, judged
from raytune_infer.comparing.configuration_result import ConfigurationResult, result_of
from raytune_infer.ranking.rate_bounds import RateBounds
from raytune_infer.ranking.trial_answer import with_figures
from raytune_infer.store.records import TrialRecord
from searchers.objective import Expression, Objective


@dataclass(frozen=True)
class SideBySide:
    """What the final comparison says about one configuration that took part.

    Args:
        result: means over its rounds; None if it does not count.
        figure: the goal's mean, in its own unit; NaN if it does not count.
        value: the same as a number of which larger is better; None if it does not count.
    """

    result: ConfigurationResult | None = None
    figure: float = math.nan
    value: float | None = None


def compared_again(
    finals: Sequence[TrialRecord],
    objective: Objective,
    usd_per_hour: Mapping[int, float],
    default: int | None,
    searched: Sequence[TrialRecord] = (),
) -> Comparison:
    """Return a run's final comparison under an objective with the limits on a load that the run had.

    Args:
        finals: trials of the comparison.
        objective: the goal; its limits on latencies and errors are the run's.
        usd_per_hour: position of a configuration → its price.
        default: position of the configuration to beat.
        searched: trials of the search that count with them, as it is not over.
    """
    again, before = (
        [judged(replace(t, usd_per_hour=usd_per_hour[t.position]), objective) for t in each]
        for each in (finals, searched)
    )
    return compared(again, objective, default, before)


def side_by_side(comparison: Comparison, objective: Objective) -> Mapping[int, SideBySide]:
    """Return position of a configuration → what the comparison says about it, for all that took part."""
    found = {}
    for contestant in comparison.contestants:
        if not contestant.counts:
            found[contestant.position] = SideBySide()
            continue
        result = result_of(comparison, contestant)
        figure = comparison.mean(contestant).value
        if comparison.preliminary:
            figure = objective.figure(result.metrics, result.usd_per_hour)
        value = 1 / figure if objective.minimize else figure
        found[contestant.position] = SideBySide(result, figure, value)
    return found


def bounds_of(result: ConfigurationResult) -> RateBounds | None:
    """Return a configuration's mean rate as bounds on its rate; None if no level was recorded for it."""
    outcome = result.trials[-1].outcome
    if outcome.reported is None:
        return None
    limited = result.client_limited
    level = with_figures(outcome.levels[outcome.reported], result.metrics)
    at_most_rps = math.inf if limited else level.rate_rps
    return RateBounds(level, at_most_rps, not limited, client_limited=limited, interval_rps=result.interval_rps)


def bounds_under(
    held_under: Mapping[str, float],
    finals: Sequence[TrialRecord],
    usd_per_hour: Mapping[int, float],
    default: int | None,
) -> Mapping[int, RateBounds]:
    """Return position of a configuration → its rate in the final comparison, under the limits that the run had.

    Args:
        held_under: the run's limits on a load.
        finals: trials of the comparison.
        usd_per_hour: position of a configuration → its price.
        default: position of the configuration to beat.
    """
    objective = Objective(Expression("rps"), at_most=held_under)
    beside = side_by_side(compared_again(finals, objective, usd_per_hour, default), objective)
    found = {p: bounds_of(said.result) for p, said in beside.items() if said.result is not None}
    return {p: bounds for p, bounds in found.items() if bounds is not None}
