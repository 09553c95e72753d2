"""Bounds on the rate of one configuration, from all that its trials say of it under one set of limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from raytune_infer.ranking.breaking_rate import BreakingRate, FoundRate
from raytune_infer.ranking.curve import in_order
from raytune_infer.ranking.limits import Limits
from raytune_infer.ranking.predicted_rate import predicted_rps
from raytune_infer.ranking.rate_bounds import RateBounds, arrivals_within, capacity_rps, clients_within, close
from raytune_infer.ranking.trial_answer import answer_of
from raytune_infer.store.records import TrialRecord
from serve_deployments.load.arrivals import Arrivals


def known_rate(
    trials: Sequence[TrialRecord],
    limits: Limits,
    precision: float,
    arrivals: Arrivals | None,
    *,
    opened: bool,
    compared: RateBounds | None = None,
) -> RateBounds:
    """Return bounds on one configuration's rate from its levels, its trials' own answers and the final comparison.

    Whatever keeps a limit keeps a looser one. So what these limits loosen of the run's gives no lower rate than the run
    found, and whatever else they ask for no higher one than that.

    Args:
        trials: its trials.
        limits: the limits to keep, beside those of the run.
        precision: relative distance between a rate that keeps the limits and one that breaks them, where a test ends.
        arrivals: arrival pattern for predicting a rate that levels leave open; None to predict none.
        opened: whether the run looked for a rate of arrivals, and not for the peak.
        compared: its rate in the final comparison, under the run's own limits; None if it took no part.
    """
    own = compared or _from_trials(trials, limits.of_the_run, precision, opened=opened)
    asked = limits.that_bound([level for t in trials for level in t.outcome.levels])
    loose = asked.loosened
    known = own if loose.unchanged else _under_looser(trials, loose, precision, own, opened=opened)
    if asked.at_most != loose.at_most:
        known = no_higher(_from_trials(trials, asked, precision, opened=opened), known, precision)
    at_most = limits.held_under if asked.unchanged else asked.at_most
    return known if arrivals is None or not opened else _with_predicted(known, trials, at_most, arrivals)


def no_higher(known: RateBounds, most: RateBounds, precision: float) -> RateBounds:
    """Return bounds under limits that are tighter than those of `most`: no rate is above what was found there.

    A level of a second may keep the tighter limit by luck where longer levels, the trial's own answer or the rounds of
    the comparison say less.

    Args:
        known: the bounds that levels give under the tighter limits.
        most: the bounds under the looser ones.
        precision: see `known_rate`.
    """
    if known.at_least_rps <= most.at_least_rps:
        found_rps = most.at_most_rps if most.interval_rps is None else max(most.at_most_rps, most.interval_rps[1])
        at_most_rps = min(known.at_most_rps, found_rps)
        resolved = known.resolved or close(known.at_least_rps, at_most_rps, precision)
        capped = replace(known.with_estimate(None), at_most_rps=at_most_rps, resolved=resolved)
        return capped if resolved else capped.with_estimate(known.estimate_rps)
    # Also of a trial that ended early, whose rate may be higher: under its own limit no more is shown of it either.
    if known.level is None or most.level is None:
        return most
    level = replace(known.level, rate_rps=most.at_least_rps)
    return replace(most.with_estimate(None), level=level, contradicted=known.contradicted)


def _under_looser(
    trials: Sequence[TrialRecord], limits: Limits, precision: float, own: RateBounds, *, opened: bool
) -> RateBounds:
    """Return bounds under limits of which none is tighter than the run's.

    The levels give them. Where the run found a rate, all levels together say how far the looser limits raise it.

    Args:
        trials: the configuration's trials.
        limits: the looser limits.
        precision: see `known_rate`.
        own: the bounds under the run's own limits.
        opened: see `known_rate`.
    """
    known = _from_trials(trials, limits, precision, opened=opened)
    if opened and limits.at_most and (found := _found(own)) is not None:
        known = _together(known, trials, limits, found)
    return no_lower(known, own)


def no_lower(known: RateBounds, own: RateBounds) -> RateBounds:
    """Return bounds under limits that are looser than those of `own`: no rate is below what was found there.

    Args:
        known: the bounds that levels give under the looser limits.
        own: the bounds under the tighter ones.
    """
    if known.at_least_rps >= own.at_least_rps:
        return known
    raised = replace(
        known.with_estimate(None),
        level=own.level,
        at_most_rps=max(known.at_most_rps, own.at_least_rps),
        interval_rps=own.interval_rps,
        alone=None,
    )
    if known.estimate_rps is None or known.estimate_rps <= own.at_least_rps:
        return raised
    return raised.with_estimate(known.estimate_rps, known.estimate_interval_rps)


def _together(known: RateBounds, trials: Sequence[TrialRecord], limits: Limits, found: FoundRate) -> RateBounds:
    """Take the lower bound under looser limits from all levels together, where a single lucky one says more.

    It is the highest level that kept the limits up to the rate from which on all levels together put them broken. So it
    never falls as limits are loosened, and a small change of a limit makes no leap that only one level carries. The
    upper bound stays: it is of levels that broke what still stands.
    """
    levels = [level for t in trials for level in t.outcome.levels]
    opened = [level for level in levels if level.mode == "open"]
    if not opened:
        return known
    silent = [level for level in opened if level.overloaded and limits.kept(level) is None]
    breaking = BreakingRate(opened, limits.held_under, found, capacity_rps(in_order(levels, "closed")))
    rate_rps, interval_rps = breaking.under(limits.at_most, silent)
    kept = [level for level in in_order(opened, "open") if limits.kept(level) and level.asked <= rate_rps]
    level = kept[-1] if kept else None
    if known.resolved and known.level == level:
        return known
    # Where a level kept the limits above the bound, and all together say that this was no luck, the bound was.
    at_most_rps = max(known.at_most_rps, 0.0 if level is None else level.rate_rps)
    together = replace(known.with_estimate(None), level=level, at_most_rps=at_most_rps, resolved=False)
    beyond = any(other.asked > rate_rps and limits.kept(other) is not None for other in opened)
    # Above all levels a simulated queue says more.
    return together.with_estimate(rate_rps, interval_rps) if beyond else together


def _found(own: RateBounds) -> FoundRate | None:
    """Return the rate that was found under the run's own limits; None if they leave it open."""
    rate_rps = own.at_least_rps if own.resolved else own.estimate_rps
    return FoundRate(rate_rps, own.interval_rps) if rate_rps else None


def _from_trials(trials: Sequence[TrialRecord], limits: Limits, precision: float, *, opened: bool) -> RateBounds:
    levels = [level for t in trials for level in t.outcome.levels]
    if not opened:
        return clients_within(levels, limits, precision)
    answers = [answer for t in trials if (answer := answer_of(t)) is not None]
    return arrivals_within(levels, limits, precision, answers)


def _with_predicted(
    known: RateBounds, trials: Sequence[TrialRecord], at_most: Mapping[str, float], arrivals: Arrivals
) -> RateBounds:
    """Add a predicted rate as the estimate, if the levels leave the rate open and give no estimate."""
    if known.resolved or known.estimate_rps is not None:
        return known
    return known.with_estimate(predicted_rps(trials, at_most, arrivals))
