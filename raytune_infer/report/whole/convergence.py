"""How the search went: the goal of each trial, the best so far, and the trials that failed."""

from __future__ import annotations

import math
from collections.abc import Iterable

from raytune_infer.counted import by_number, counted
from raytune_infer.report.chart import Axis, Chart, Dot, Quantity, Series
from raytune_infer.report.figures import rate
from raytune_infer.report.view import Note, View
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


def goal_axis(objective: Objective) -> Axis:
    """Return the axis of the goal's figure."""
    text = objective.goal.text
    return Axis("rate", "requests/s") if text == "rps" else Axis(f"{'least' if objective.minimize else 'most'} {text}")


def goal_figure(trial: TrialRecord, objective: Objective) -> Quantity | None:
    """Return the goal's figure of a trial that counts; its interval is that of the rate, if the goal is made of it."""
    if trial.value is None:
        return None
    figure = objective.figure(trial.metrics, trial.usd_per_hour)
    found = rate(trial)
    if found is None or found.low is None or found.high is None:
        return Quantity(figure)
    at = [objective.figure({**trial.metrics, "rps": rps}, trial.usd_per_hour) for rps in (found.low, found.high)]
    if not all(map(math.isfinite, at)) or at[0] == at[1]:
        return Quantity(figure)
    return Quantity(figure, min(*at, figure), max(*at, figure))


def _chart(searched: Iterable[TrialRecord], objective: Objective) -> Chart:
    valued: list[Dot] = []
    failed: list[Dot] = []
    best: list[Dot] = []
    lead: Quantity | None = None
    value = 0.0
    for t in searched:
        named = f"trial {t.number}: {spelled(t.config)}"
        figure = goal_figure(t, objective)
        if figure is None or t.value is None:
            why = t.outcome.reason or "breaks a limit"
            failed.append(Dot(t.number, 0.0, label=f"{named}: {why}"))
        else:
            valued.append(
                Dot(t.number, figure.value, figure.low, figure.high, f"trial {t.number}: {spelled(t.config)}")
            )
            lead, value = (figure, t.value) if t.value > value else (lead, value)
        if lead is not None:
            best.append(Dot(t.number, lead.value, lead.low, lead.high, "best so far"))
    series = (
        Series("trial that counts", "measured", tuple(valued)), Series("best so far", "steps", tuple(best)),
        Series("could not run, or breaks a limit (at 0)", "failed", tuple(failed)),
    )  # fmt: skip
    caption = (
        f"Each mark is a trial of the search, with the 95 % interval of its load test; {len(failed)} of "
        f"{counted(len(valued) + len(failed), 'trial')} {by_number(len(failed), 'does', 'do')} not count."
    )
    axis = Axis("trial, in the order of their starts")
    return Chart(
        "convergence", "Trial by trial", caption, axis, goal_axis(objective), tuple(s for s in series if s.dots)
    )
