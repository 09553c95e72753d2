"""The whole report of a run: the answer first, then what it rests on."""

from __future__ import annotations

from raytune_infer.counted import by_number, counted
from raytune_infer.report.level_figures import latency_charts
from raytune_infer.report.study_report import trials_view
from raytune_infer.report.view import Note, View
from raytune_infer.report.whole.convergence import convergence_view
from raytune_infer.report.whole.cost import cost_view
from raytune_infer.report.whole.deploying import deploying_view
from raytune_infer.report.whole.machine import machine_view
from raytune_infer.report.whole.moving.sensitivity import sensitivity_view
from raytune_infer.report.whole.planes import planes_view
from raytune_infer.report.whole.question import question_view
from raytune_infer.report.whole.run_facts import RunFacts
from raytune_infer.report.whole.standings import compared_view, ranking_view
from raytune_infer.report.words.ranked import asked
from raytune_infer.report.words.trials import set_aside


def whole_report(facts: RunFacts) -> View:
    """Return everything that is known of a run, a section each."""
    shown = trials_view(facts.study, facts.trials, facts.best, facts.comparison, facts.objective, facts.comparing.left)
    found = facts.ranking
    aside = tuple(map(Note, set_aside(facts.set_aside)))
    sections = (
        *([] if facts.best is None else [compared_view(facts)]),
        question_view(facts),
        convergence_view(facts),
        planes_view(facts),
        _latency_view(facts),
        cost_view(facts),
        sensitivity_view(facts),
        *([] if found is None else [ranking_view(found)]),
        View("All trials", tables=shown.tables, notes=(*shown.notes, *aside)),
        machine_view(facts),
        deploying_view(facts),
    )  # fmt: skip
    return View(shown.title, shown.subtitle, notes=tuple(_state(facts)), sections=sections, answer=shown.answer)


def _latency_view(facts: RunFacts) -> View:
    title = "Latency over rate"
    if facts.ranking is not None and (charts := latency_charts(facts.ranking)):
        return View(title, charts=charts)
    return View(title, notes=(Note("Nothing was measured yet.", "warning"),))


def _so_far(facts: RunFacts) -> str:
    ended = len(facts.searched)
    if facts.comparing.left is not None:
        return f"its search has had {counted(ended, 'trial')}, and its final comparison has begun"
    return f"{ended} of {counted(facts.study.trials, 'trial')} {by_number(ended, 'has', 'have')} ended"


def _state(facts: RunFacts) -> list[Note]:
    """Return what a reader must know before the numbers: that there are none, or that more are to come."""
    said = [Note(f"The question: {asked(facts.ranking)}.")] if facts.ranking is not None else []
    if facts.run.concluded is False or facts.unfinished:
        said.append(Note(
            f"The study is not over: {_so_far(facts)}. It runs, or was stopped; then `tune --resume` goes on with it.",
            "warning",
        ))  # fmt: skip
    if not facts.trials:
        said.append(Note("Nothing has been measured yet."))
    elif facts.best is None:
        ran = [t for t in facts.trials if t.outcome.metrics is not None]
        why = "none keeps all limits" if ran else "none of them could run"
        said.append(Note(f"No configuration counts: {why}.", "failure"))
    return said
