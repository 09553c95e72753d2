"""What an open level says in the end, with what is known only then: what other processes did on the replica's cores.

While a level is held, its stopping rule takes every request as it came.

A level on disturbed cores is repeated rather than believed, whatever it showed: if only those that broke a limit were
repeated, the rate found would be that of the luckiest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from serve_deployments.load.events import Events
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.measuring.predicting.calibration import Arrived
from serve_deployments.measuring.rates.level_evidence import LevelEvidence
from serve_deployments.measuring.rates.locating import UntilLocated
from serve_deployments.measuring.statistics.limit_verdict import evidence
from serve_deployments.measuring.statistics.stalls import (
    background_share,
    delayed_by,
    lapse_rate,
    stalls_by_others,
    taken_s,
)
from serve_deployments.metrics.level_result import TOLERATED_SHARE, LevelResult, disturbing_share, others_share

REPEATS = 1 / 3
"""Largest share of a search's time for levels that are repeated, for one reason each. Our choice."""


def is_disturbed(level: LevelResult) -> bool:
    """Whether other work had a part in what an open level showed, other than by stalls that are left out of it."""
    return level.mode == "open" and disturbing_share([level]) >= TOLERATED_SHARE


def is_repeated(level: LevelResult, levels: Sequence[LevelResult], plan: LoadPlan) -> bool:
    """Whether a level is not believed, and repeated.

    It is if the replica had its cores to itself in another level, as otherwise a repetition would show the same, and
    while there is time for it.

    Args:
        level: the level.
        levels: all levels so far, this one included.
        plan: the plan of the search.
    """
    spent_s = sum(one.ended_at - one.started_at for one in levels if is_disturbed(one))
    alone = any((others_share([one]) or 0.0) < TOLERATED_SHARE for one in levels)
    return is_disturbed(level) and alone and spent_s <= REPEATS * plan.total_max_s


def other_work(levels: Sequence[LevelResult]) -> str:
    """What other work did to the levels, as a clause that begins with a semicolon; empty if it did nothing."""
    # Nothing is looked for in closed levels, nor where the system does not report what others use.
    looked_at = [one for one in levels if one.mode == "open" and one.usage is not None and one.usage.cores_s > 0]
    stalled, answered = (sum(getattr(one, name) for one in looked_at) for name in ("stalled", "completed"))
    disturbed = sum(is_disturbed(one) for one in looked_at)
    told = ""
    if stalled:
        share = lapse_rate(stalled, answered)
        told += f"; {share:.1%} of requests were slow at every rate, as other processes stalled the replica: left out"
    if disturbed:
        told += (
            f"; {disturbed} of {len(looked_at)} levels shared cores with other processes: repeated while time was left"
        )
    return told


def shown_by(level: LevelResult, rule: UntilLocated, levels: Sequence[LevelResult]) -> LevelEvidence | None:
    """What a level shows of the highest rate; None if it is not believed, and repeated.

    Args:
        level: the level.
        rule: the stopping rule that it was held by.
        levels: all levels so far, this one included.
    """
    if is_repeated(level, levels, rule.plan):
        return None
    shown = rule.shown
    if level.overloaded:
        return replace(shown, cannot_rps=(*shown.cannot_rps, level.achieved_rps))
    if rule.checked is None:
        return shown
    events, ended = rule.checked
    requests, measured = events.requests(0, ended), _measured(level, levels, events, ended)
    dropped = events.dropped_after(ended)
    if level.stalled or len(dropped):
        kept = requests.where(measured).and_then(dropped)
        shown = replace(shown, seen=tuple(evidence(name, limit, kept) for name, limit in rule.at_most.items()))
    if is_disturbed(level) or requests.dropped.any() or len(dropped):
        return shown  # a queue of the replica's batches knows nothing of other work, nor of requests that are dropped
    return replace(shown, arrived=Arrived.of(rule.rate_rps, requests, measured, level.usage))


def background_of(levels: Sequence[LevelResult]) -> float | None:
    """The share of the replica's cores that other processes have all the time, by these levels; None: not known."""
    return background_share(level.usage for level in levels)


def _measured(level: LevelResult, levels: Sequence[LevelResult], events: Events, ended: int) -> np.ndarray:
    """`[ended]` which of a level's first requests to end are neither warm-up nor delayed by other work's stalls."""
    background = background_of([one for one in levels if one is not level])
    delayed = delayed_by(events, stalls_by_others(events, taken_s(level.usage, background)))[:ended]
    return (np.arange(ended) >= events.turned_over) & ~delayed
