"""How the configurations stand: what is recommended beside the default, and all of them ranked."""

from __future__ import annotations

from raytune_infer.ranking.recommendation import Recommendation
from raytune_infer.report.comparison_report import comparison_view
from raytune_infer.report.recommendation_report import ranking_table
from raytune_infer.report.study_report import recommendation
from raytune_infer.report.view import Note, View
from raytune_infer.report.whole.run_facts import RunFacts
from raytune_infer.report.words.ranked import notes
from raytune_infer.study.result import StudyResult


def compared_view(facts: RunFacts) -> View:
    """Return the recommended configuration beside the default, and the comparison."""
    compared = comparison_view(facts.comparison, facts.objective)
    best = facts.best
    if best is None or facts.comparison.recommended is None or facts.comparison.preliminary:
        return View("Recommended against default", notes=(Note("They were not compared yet.", "warning"),))
    result = StudyResult(
        run=facts.run, trials=facts.trials, best=best, default=facts.default, objective=facts.objective,
        prices=facts.spec.prices or "", comparison=facts.comparison,
    )  # fmt: skip
    return View("Recommended against default", tables=(recommendation(result), *compared.tables), notes=compared.notes)


def ranking_view(found: Recommendation) -> View:
    """Return all configurations that were measured, ranked."""
    return View("All configurations, ranked", tables=(ranking_table(found),), notes=tuple(map(Note, notes(found))))
