"""Bounds on the rate of one configuration, from all that its trials say of it under one set of limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from raytune_infer.ranking.breaking_rate import BreakingRate, FoundRate
from raytune_infer.ranking.curve import in_order
from raytune_infer.ranking.predicted_rate import predicted_rps
from raytune_infer.ranking.rate_bounds import Limits, RateBounds, arrivals_within, clients_within
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

    Args:
        trials: its trials.
        limits: the limits to keep, beside those of the run.
        precision: relative distance between a rate that keeps the limits and one that breaks them, where a test ends.
        arrivals: arrival pattern for predicting a rate that levels leave open; None to predict none.
        opened: whether the run looked for a rate of arrivals, and not for the peak.
        compared: its rate in the final comparison, under the run's own limits; None if it took no part.
    """
    known = _from_trials(trials, limits, precision, opened=opened)
    if not limits.unchanged:
        own = compared or _from_trials(trials, limits.of_the_run, precision, opened=opened)
        if limits.looser:
            known = _under_looser(known, trials, limits, own, opened=opened)
        elif not limits.tighter:
            # What of them is looser than the run's bounds them all, as one more limit never gives a higher rate.
            loose = limits.loosened
            most = _under_looser(
                _from_trials(trials, loose, precision, opened=opened), trials, loose, own, opened=opened
            )
            known = consistent(known, most, Limits(limits.at_most, loose.at_most))
        known = consistent(known, own, limits)
    return known if arrivals is None or not opened else _with_predicted(known, trials, limits, arrivals)


def _under_looser(
    known: RateBounds, trials: Sequence[TrialRecord], limits: Limits, own: RateBounds, *, opened: bool
) -> RateBounds:
    """Make the bounds under looser limits agree with the rate that the run found, and with all levels together."""
    if opened and limits.at_most and (found := _found(own)) is not None:
        known = _together(known, trials, limits, found)
    return consistent(known, own, limits)


def consistent(known: RateBounds, own: RateBounds, limits: Limits) -> RateBounds:
    """Make the bounds under other limits agree with the rate that the run found under its own.

    Whatever keeps tighter limits keeps looser ones. So a tighter limit gives no higher rate: a level of a second may
    keep it by luck where longer levels, the trial's own answer or the rounds of the comparison say less. Nor does a
    looser limit give a lower one.

    Args:
        known: the bounds that levels give under `limits`.
        own: the bounds under the run's limits.
        limits: the other limits, beside those of the run.
    """
    # Also of a trial that ended early, whose rate may be higher: under its own limit no more is shown of it either.
    most_rps = own.at_least_rps
    if limits.tighter and known.level is not None and known.at_least_rps > most_rps:
        if own.level is None:
            return own
        level = replace(known.level, rate_rps=most_rps)
        return replace(own, level=level, estimate_rps=None, contradicted=known.contradicted)
    if limits.looser and known.at_least_rps < own.at_least_rps:
        above = known.estimate_rps is not None and known.estimate_rps > own.at_least_rps
        return replace(
            known,
            level=own.level,
            at_most_rps=max(known.at_most_rps, own.at_least_rps),
            interval_rps=own.interval_rps,
            estimate_rps=known.estimate_rps if above else None,
            estimate_interval_rps=known.estimate_interval_rps if above else None,
            alone=None,
        )
    return known


def _together(known: RateBounds, trials: Sequence[TrialRecord], limits: Limits, found: FoundRate) -> RateBounds:
    """Take the lower bound under looser limits from all levels together, where a single lucky one says more.

    It is the highest level that kept the limits up to the rate from which on all levels together put them broken. So it
    never falls as limits are loosened, and a small change of a limit makes no leap that only one level carries.
    """
    opened = [level for t in trials for level in t.outcome.levels if level.mode == "open"]
    if not opened:
        return known
    silent = [level for level in opened if level.overloaded and limits.kept(level) is None]
    rate_rps, interval_rps = BreakingRate(opened, limits.held_under, found).under(limits.at_most, silent)
    kept = [level for level in in_order(opened, "open") if limits.kept(level) and level.asked <= rate_rps]
    level = kept[-1] if kept else None
    if known.resolved and known.level == level:
        return known
    beyond = [other.asked for other in opened if other.asked > rate_rps and limits.kept(other) is not None]
    return replace(
        known,
        level=level,
        at_most_rps=max(known.at_most_rps, min(beyond, default=0.0), rate_rps),
        resolved=False,
        # Above all levels a simulated queue says more.
        estimate_rps=rate_rps if beyond else None,
        estimate_interval_rps=interval_rps if beyond else None,
    )


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


def _with_predicted(known: RateBounds, trials: Sequence[TrialRecord], limits: Limits, arrivals: Arrivals) -> RateBounds:
    """Add a predicted rate as the estimate, if the levels leave the rate open and give no estimate."""
    if known.resolved or known.estimate_rps is not None:
        return known
    rps = predicted_rps(trials, limits.at_most, arrivals)
    return known if rps is None else replace(known, estimate_rps=min(max(rps, known.at_least_rps), known.at_most_rps))
