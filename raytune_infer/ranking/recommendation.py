"""Ranking of a finished run's trials under other limits, prices and goals, from their curves, without a new trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cluster.prices import DEFAULT_BOOK, PriceBook, load_prices
from raytune_infer.comparing.comparison import Comparison
from raytune_infer.comparing.comparison_schedule import Left
from raytune_infer.counted import numbered
from raytune_infer.errors import AllFailed, SpecError
from raytune_infer.ranking.goal_value import usd_per_hour_of
from raytune_infer.ranking.known_rates import known_rate
from raytune_infer.ranking.limits import Limits
from raytune_infer.ranking.measured_metrics import check_measured
from raytune_infer.ranking.other_objective import Bounds, changed, lets_in, limits_on_load, same_question
from raytune_infer.ranking.ranked import Ranked, best_first, ranked_of
from raytune_infer.ranking.rate_bounds import RateBounds
from raytune_infer.ranking.side_by_side import bounds_under, compared_again, side_by_side
from raytune_infer.spec.arrivals import read_arrivals
from raytune_infer.spec.service_spec import ServiceSpec
from raytune_infer.store.records import StudyRecord, TrialRecord
from raytune_infer.store.run_folder import open_run
from raytune_infer.study.result import unfinished_comparison
from searchers.objective import Objective
from serve_deployments.load.arrivals import Arrivals


@dataclass(frozen=True)
class RunConditions:
    """How the trials of a run were measured.

    Args:
        held_under: limits under which its load tests measured the levels.
        precision: relative distance between a rate that keeps the limits and one that breaks them, where a test ends.
        arrivals: arrival pattern for predicting rates that levels leave open; None to predict none.
        size: number of configurations in the space; None if the run did not record it.
        default: position of the configuration to beat; None if it was not measured.
    """

    held_under: Mapping[str, float]
    precision: float
    arrivals: Arrivals | None = None
    size: int | None = None
    default: int | None = None

    def __post_init__(self) -> None:
        if not self.precision > 0:
            raise ValueError(f"the precision of a rate is above 0, got {self.precision}")
        if self.size is not None and self.size < 1:
            raise ValueError(f"a space has one or more configurations, got {self.size}")


@dataclass(frozen=True)
class Recommendation:
    """Ranking of a run's configurations under an objective.

    Args:
        objective: the goal and its limits; the run's own unless others were asked for.
        prices: label of the prices.
        arrivals: True if rates are of open-loop arrivals, False if of closed-loop clients (`find: peak`).
        ranked: the configurations that certainly count, the best first.
        others: the other measured configurations, the most promising first.
        failed: number → reason of the trials whose configuration never ran.
        untried: number of configurations of the space without a trial; None if the run did not record its size.
        comparison: the final comparison, if the best was found by it; else None.
        not_loaded: numbers of the trials in `failed` that only a limit of the run on answers kept from being loaded,
            and that keep the limits on answers of this objective.
        left: how far that has come if it is not over; None if it is, or has not begun.
        best_is_default: whether the best is the configuration to beat.
    """

    objective: Objective
    prices: str
    arrivals: bool
    ranked: tuple[Ranked, ...]
    others: tuple[Ranked, ...]
    failed: Mapping[int, str]
    untried: int | None
    comparison: Comparison | None = None
    not_loaded: tuple[int, ...] = ()
    left: Left | None = None
    best_is_default: bool = False

    @property
    def best(self) -> Ranked | None:
        """The configuration to run: the first of the ranking; None if none certainly counts."""
        return self.ranked[0] if self.ranked else None

    @property
    def needed(self) -> tuple[Ranked, ...]:
        """Configurations that a new trial could rank first, the most promising first.

        Their levels leave a rate possible at which they would beat the measured value of the best.
        """
        to_beat = self.best.value if self.best is not None else 0.0
        assert to_beat is not None, "what is ranked has a value"
        open_still = [r for r in (*self.ranked[1:], *self.others) if not r.known.resolved]
        return tuple(sorted((r for r in open_still if (r.could_be or 0.0) > to_beat), key=lambda r: -(r.could_be or 0)))


def recommend(
    run: str | Path,
    *,
    limits: Bounds | None = None,
    prices: PriceBook | str | Path | None = None,
    maximize: str | None = None,
    minimize: str | None = None,
    at_least: Bounds | None = None,
    db: str | None = None,
) -> Recommendation:
    """Rank the trials of a run again. Nothing is deployed and no cluster is needed.

    Args:
        run: the run's folder.
        limits: metric → largest value allowed, for any percentile (`{"p97_ms": 50}`); None removes the run's own limit
            on a metric, and the run's other limits stay as they are.
        prices: a price book, the name of a built-in one, or a file; None for the prices of the run.
        maximize: another goal, to be maximised.
        minimize: another goal, to be minimised.
        at_least: metric → smallest value allowed.
        db: URL of the database that the run was started with; None for the one in its folder.

    Raises:
        UserError: there is no such run, a metric is not measured, a price is unknown, or nothing was measured.
        PriceBookError: there is no such price book, or it is malformed.
    """
    folder = open_run(run, db)
    study, trials = folder.read()
    spec = folder.spec_of(study)
    objective = changed(spec.goal, limits=limits, at_least=at_least, maximize=maximize, minimize=minimize)
    book = prices if isinstance(prices, PriceBook) or prices is None else load_prices(prices)
    if all(not t.outcome.levels for t in trials):
        raise AllFailed(f"no trial of {run} was measured; `raytune-infer show {run}` says why")
    goal = objective.goal.names if (maximize, minimize) != (None, None) else ()
    asked = {name for bounds in (limits, at_least) for name, bound in (bounds or {}).items() if bound is not None}
    check_measured({*asked, *goal}, trials, str(run))
    left, searched = unfinished_comparison(folder, trials, spec)
    ranking = ranked_again(study, trials, spec, objective, book, searched=searched)
    return replace(ranking, left=left)


def ranked_again(
    study: StudyRecord,
    trials: Sequence[TrialRecord],
    spec: ServiceSpec,
    objective: Objective,
    book: PriceBook | None = None,
    *,
    searched: Sequence[TrialRecord] = (),
    predicts: bool = True,
) -> Recommendation:
    """Rank the trials of a run under an objective.

    Args:
        study: the run's study.
        trials: its finished trials.
        spec: its service.
        objective: the goal and its limits.
        book: the prices; None for those of the run.
        searched: trials of the search that count with a comparison that is not over (`unfinished_comparison`).
        predicts: whether rates that levels leave open are predicted, which takes most of the time and ranks nothing.

    Raises:
        UserError: the objective needs a price that is unknown.
    """
    conditions = RunConditions(
        held_under=spec.latency_limits,
        precision=spec.load.rate_precision,
        arrivals=_arrivals(spec) if predicts else None,
        size=next(iter(study.fingerprint.get("configurations", ())), None),
        default=next((t.position for t in trials if t.config == spec.default_config), None),
    )
    return rank(
        trials,
        objective,
        conditions,
        book=book,
        prices=f"as of the run ({spec.prices or DEFAULT_BOOK})" + _priced_anew(trials)
        if book is None
        else f"{book.name}, {book.date}",
        concluded=same_question(objective, spec.goal, spec.latency_limits, trials, book),
        searched=searched,
    )


def _priced_anew(trials: Sequence[TrialRecord]) -> str:
    """Return what is said of trials that were priced under a former rule; empty if there are none."""
    said = ""
    for priced, meant in (("anew", "the whole GPU's"), ("unknown", "not known; --prices names a book")):
        if numbers := [t.number for t in trials if t.priced == priced]:
            said += (
                f"; of {numbered('trial', numbers)}, recorded at the price of a part of a GPU for a part of "
                f"its memory alone: {meant}"
            )
    return said


def rank(
    trials: Sequence[TrialRecord],
    objective: Objective,
    conditions: RunConditions,
    *,
    book: PriceBook | None = None,
    prices: str = "as of the run",
    concluded: bool = False,
    searched: Sequence[TrialRecord] = (),
) -> Recommendation:
    """Rank trials by what their levels certainly show; raises UserError if the objective needs an unknown price.

    Under the run's own limits on a load the means of the final comparison decide for those that took part in it.

    Args:
        trials: trials of one study, those of its final comparison included.
        objective: the goal and its limits.
        conditions: how they were measured.
        book: price book; None for the recorded prices.
        prices: label of the prices.
        concluded: whether this is the question that the run's final comparison has answered.
        searched: trials of the search that count as a round of that comparison, as it is not over (`compared`).
    """
    measured, default = _measured(trials), conditions.default
    limits = limits_on_load(objective, conditions.held_under, trials)
    prices_usd = {position: usd_per_hour_of(ts[0], book, objective) for position, ts in measured.items()}
    finals = [t for t in trials if t.purpose == "final" and t.position in measured]
    before = [t for t in searched if t.position in measured and limits.unchanged]
    comparison = compared_again(finals if finals and limits.unchanged else (), objective, prices_usd, default, before)
    beside = side_by_side(comparison, objective)
    own = {} if limits.unchanged else bounds_under(conditions.held_under, finals, prices_usd, default)
    opened = any(level.mode == "open" for t in trials for level in t.outcome.levels)
    known = _known_rates(measured, limits, conditions, own, opened=opened)
    ranked = [ranked_of(ts, objective, known[p], prices_usd[p], beside.get(p)) for p, ts in measured.items()]
    defaults = {t.number for t in trials if t.position == default}
    in_order, decided = best_first(ranked, defaults, objective, comparison, concluded=concluded)
    return Recommendation(
        objective=objective,
        prices=prices,
        arrivals=opened,
        ranked=in_order,
        others=tuple(sorted((r for r in ranked if r.value is None), key=lambda r: -(r.could_be or 0.0))),
        failed={t.number: t.outcome.reason or "" for t in trials if t.position not in measured},
        untried=None if conditions.size is None else conditions.size - len({t.position for t in trials}),
        comparison=comparison if decided else None,
        best_is_default=bool(in_order) and not defaults.isdisjoint(in_order[0].trials),
        not_loaded=tuple(t.number for t in trials if t.position not in measured and lets_in(objective, t)),
    )


def _measured(trials: Sequence[TrialRecord]) -> dict[int, list[TrialRecord]]:
    """Return position → trials of each configuration that was loaded (`_as_it_will_run`)."""
    by_config: dict[int, list[TrialRecord]] = {}
    for t in trials:
        by_config.setdefault(t.position, []).append(t)
    return {p: believed for p, ts in by_config.items() if (believed := _as_it_will_run(ts))}


def _as_it_will_run(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return a configuration's trials; without those alone on its GPU where others were among neighbours.

    Empty if it was never loaded.
    """
    crowded = [t for t in trials if t.outcome.levels and not t.outcome.alone]
    return [t for t in trials if not t.outcome.alone or not crowded] if any(t.outcome.levels for t in trials) else []


def _known_rates(
    measured: Mapping[int, Sequence[TrialRecord]],
    limits: Limits,
    conditions: RunConditions,
    compared: Mapping[int, RateBounds],
    *,
    opened: bool,
) -> dict[int, RateBounds]:
    """Return position → bounds on the rate of each configuration (`known_rate`)."""
    precision, arrivals = conditions.precision, conditions.arrivals
    return {
        p: known_rate(ts, limits, precision, arrivals, opened=opened, compared=compared.get(p))
        for p, ts in measured.items()
    }


def _arrivals(spec: ServiceSpec) -> Arrivals | None:
    """Return the run's arrival pattern; None if it was a trace that cannot be read any more."""
    try:
        return read_arrivals(spec)
    except SpecError:
        return None
