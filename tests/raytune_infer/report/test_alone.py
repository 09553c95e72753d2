"""A part of a GPU that was measured alone says so wherever its number stands, and one among neighbours does not."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from raytune_infer.comparing.comparison import compared
from raytune_infer.ranking.recommendation import RunConditions, rank
from raytune_infer.report.chart import Chart
from raytune_infer.report.comparison_report import comparison_view
from raytune_infer.report.export.report_files import frame, write_files
from raytune_infer.report.level_figures import rate
from raytune_infer.report.recommendation_report import recommendation_view
from raytune_infer.report.study_report import result_view, trials_view
from raytune_infer.report.view import View
from raytune_infer.report.words.progress import Telling
from raytune_infer.store.records import Outcome, Purpose, TrialRecord
from raytune_infer.store.run_folder import RunFolder
from raytune_infer.study.result import best_of, conclude
from searchers.base import Problem
from searchers.space import Knob, Space
from tests.raytune_infer.ranking.ranked_trials import level, ranked
from tests.raytune_infer.report.every_view import BEGUN, OBJECTIVE, StudyRecord
from tests.raytune_infer.report.shown_views import texts

SETTINGS = {"gpu_type": "T4", "gpu_share": 0.25, "gpu_memory": 0.25}
ALONE = {"limit": "neighbours", "asked": "3", "enforced": False, "how": "measured alone", "given": "0"}
AMONG = {**ALONE, "enforced": True, "how": "beside 3 copies of itself on the same GPU", "given": "3"}


def trial(number: int, position: int, rps: float, told: dict[str, Any], purpose: Purpose = "search") -> TrialRecord:
    metrics = {"rps": rps, "p50_ms": 12.0, "p95_ms": 34.0, "p99_ms": 56.0, "error_rate": 0.0}
    outcome = Outcome(metrics, levels=(level(rps, 30.0),), reported=0, enforcements=(told,), settings=SETTINGS)
    value = OBJECTIVE.value(metrics, 0.36)
    return TrialRecord(number, purpose, position, {"size": 2**position}, 0.36, value, outcome, 7.5, False)


def study(told: dict[str, Any]) -> tuple[TrialRecord, ...]:
    """Two configurations, compared in two rounds."""
    finals = [trial(n, p, rps, told, "final") for n, p, rps in ((3, 0, 90.0), (4, 1, 60.0), (5, 1, 61.0), (6, 0, 91.0))]
    return (trial(1, 0, 200.0, ALONE), trial(2, 1, 150.0, ALONE), *finals)


def results(trials: tuple[TrialRecord, ...], folder: Path) -> Any:
    problem = Problem(Space([Knob("size", (1, 2))]), OBJECTIVE, np.full(2, 0.36))
    return conclude(RunFolder(folder, None, 1), problem, trials, 1, "prices")


def views(trials: tuple[TrialRecord, ...], folder: Path) -> dict[str, View]:
    """Name of its builder → a view of it in which only the last numbers of these trials stand."""
    comparison = compared(trials, OBJECTIVE, 1)
    record = StudyRecord(1, "mine", "", ".", "meta", 7, 2, {}, None, BEGUN)
    finals = tuple(t for t in trials if t.purpose == "final")
    telling = Telling((), 9, OBJECTIVE)
    return {
        "result_view": result_view(results(trials, folder), {}),
        "trials_view": trials_view(record, finals, best_of(trials, comparison), comparison, OBJECTIVE),
        "comparison_view": comparison_view(comparison, OBJECTIVE),
        "recommendation_view": recommendation_view(ranked(*trials, p99_ms=100)),
        "looser": recommendation_view(ranked(*trials, p99_ms=500)),
        "finished": telling.finished(finals[0]),
    }


def said(view: View) -> str:
    """All that stands in a view, its tables cell by cell."""
    cells = [cell for table in view.tables for row in texts(table) for cell in row]
    lines = [
        view.answer,
        *cells,
        *(note.text for note in view.notes),
        *(series.group for chart in view.charts if isinstance(chart, Chart) for series in chart.series),
    ]
    return "\n".join([*lines, *map(said, view.sections)])


def test_what_was_alone_in_the_comparison_too_says_so_in_every_view(tmp_path):
    for name, view in views(study(ALONE), tmp_path).items():
        assert "measured alone" in said(view), name


def test_what_was_among_neighbours_in_the_end_does_not_and_its_numbers_alone_count_no_more(tmp_path):
    trials = study(AMONG)
    for name, view in views(trials, tmp_path).items():
        assert "measured alone" not in said(view), name
    best = ranked(*trials, p99_ms=500).best
    assert best.known.level.rate_rps < 100 and set(best.trials).isdisjoint({1, 2})


def test_before_a_comparison_the_best_of_the_search_says_it():
    searched = study(AMONG)[:2]
    comparison = compared(searched, OBJECTIVE, 1)
    record = StudyRecord(1, "mine", "", ".", "meta", 7, 2, {}, None, BEGUN)
    view = trials_view(record, searched, best_of(searched, comparison), comparison, OBJECTIVE)
    assert "requests/s, measured alone" in (view.answer or "")
    assert "all: measured alone: it pays for a part of a GPU" in said(view)
    [first, _] = recommendation_view(ranked(*searched, p99_ms=100)).tables[0].column("remarks")
    assert first == "measured alone"


def test_so_do_the_files_for_programs(tmp_path):
    for told, alone in ((ALONE, True), (AMONG, False)):
        trials = study(told)
        assert frame(trials).measured_alone.tolist() == [True, True, *[alone] * 4]
        files = write_files(results(trials, tmp_path), "")
        summary = json.loads(files["recommendation"].read_text(encoding="utf-8"))
        assert summary["best"]["measured_alone"] is alone and summary["default"]["measured_alone"] is alone
        assert ("measured alone" in summary["answer"]) is alone


def test_a_trial_that_could_not_run_has_no_number_to_be_alone_with():
    failed = trial(1, 0, 1.0, ALONE)
    failed = replace(failed, value=None, outcome=replace(failed.outcome, metrics=None, reason="OutOfMemory: no"))
    assert "measured alone" not in said(Telling((), 9, OBJECTIVE).finished(failed))


def test_what_was_alone_is_no_lower_bound_and_does_not_beat_a_default_that_was_among_others(tmp_path):
    alone, among = trial(1, 0, 200.0, ALONE), trial(2, 1, 60.0, AMONG)
    found = rank((alone, among), OBJECTIVE, RunConditions({"p99_ms": 50.0}, 0.1, default=1))
    assert found.best is not None and found.best.trials == (2,)
    rates = {r.trials[0]: rate(r) for r in (*found.ranked, *found.others)}
    assert {number: shown.at_least for number, shown in rates.items() if shown is not None} == {1: False, 2: True}
