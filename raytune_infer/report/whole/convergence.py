"""How the search went: the goal of each trial, the best so far, and the trials that failed."""

from __future__ import annotations

from collections.abc import Sequence

from raytune_infer.counted import by_number, counted
from raytune_infer.report.chart import Axis, Chart, Dot, Quantity, Series
from raytune_infer.report.figures import rate
from raytune_infer.report.view import Note, View
from raytune_infer.report.whole.goal import goal_axis, goal_figure
from raytune_infer.report.whole.run_facts import RunFacts
from raytune_infer.report.words.values import spelled
from raytune_infer.store.records import TrialRecord
from searchers.objective import Objective


def convergence_view(facts: RunFacts) -> View:
    """Return the convergence of the search as a chart; a sentence if no trial has ended."""
    title = "How the search went"
    if not (searched := facts.searched):
        return View(title, notes=(Note("No trial has ended yet.", "warning"),))
    return View(title, charts=(_chart(searched, facts.objective),))


def _chart(searched: Sequence[TrialRecord], objective: Objective) -> Chart:
    figures = {t.number: _figure(t, objective) for t in searched}
    bad = _bad_end([each for each in figures.values() if each is not None], objective)
    valued: list[Dot] = []
    early: list[Dot] = []
    failed: list[Dot] = []
    best: list[Dot] = []
    lead: Quantity | None = None
    value = 0.0
    for t in searched:
        named = f"trial {t.number}: {spelled(t.config)}"
        figure = figures[t.number]
        if figure is None or t.value is None:
            failed.append(Dot(t.number, Quantity(bad), f"{named}: {t.outcome.reason or 'breaks a limit'}"))
        else:
            (early if t.outcome.ended_early else valued).append(Dot(t.number, figure, named))
            lead, value = (figure, t.value) if t.value > value else (lead, value)
        if lead is not None:
            best.append(Dot(t.number, Quantity(lead.value), "best so far"))  # its interval is that trial's
    edge = "at the upper edge" if bad else "at 0"
    series = (
        Series("trial that counts", "measured", tuple(valued)), Series("best so far", "steps", tuple(best)),
        Series("ended early, as it could not win: an estimate", "early", tuple(early)),
        Series(f"could not run, or breaks a limit ({edge})", "failed", tuple(failed)),
    )  # fmt: skip
    caption = (
        "Each mark is a trial of the search, with the 95 % interval of its load test; "
        + (f"{len(failed)} of {counted(len(searched), 'trial')} {by_number(len(failed), 'does', 'do')} not count."
           if failed else "all of them count.")
    )  # fmt: skip
    axis = Axis("trial, in the order of their starts", whole=True)
    return Chart(
        "convergence", "Trial by trial", caption, axis, goal_axis(objective), tuple(s for s in series if s.dots)
    )


def _figure(trial: TrialRecord, objective: Objective) -> Quantity | None:
    """Return the goal's figure of a trial; None if it does not count."""
    if trial.value is None:
        return None
    figure = objective.figure(trial.metrics, trial.usd_per_hour)
    return goal_figure(objective, figure, rate(trial), trial.metrics, trial.usd_per_hour)


def _bad_end(figures: Sequence[Quantity], objective: Objective) -> float:
    """Return where to mark what does not count, so that it does not look best: above the figures if less is better."""
    highest = max((each.value if each.high is None else each.high for each in figures), default=0.0)
    return 1.1 * highest if objective.minimize else 0.0
