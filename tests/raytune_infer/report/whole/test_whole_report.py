"""The whole report: each number is that of the other commands, and there is a report whatever became of a run."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from raytune_infer.ranking.recommendation import recommend
from raytune_infer.report.recommendation_report import ranking_table
from raytune_infer.report.renderers import renderer_of
from raytune_infer.report.renderers.json_view import as_dict
from raytune_infer.report.study_report import trials_view
from raytune_infer.report.view import View
from raytune_infer.report.whole.cost import pareto
from raytune_infer.report.whole.run_facts import read_facts
from raytune_infer.report.whole.whole_report import whole_report
from raytune_infer.spec.document import Document
from raytune_infer.spec.service_spec import parse_spec
from raytune_infer.store.records import Outcome
from tests.raytune_infer.ranking.measured_runs import CONFIGS, SPEC, write_run
from tests.raytune_infer.report.every_view import facts, measured


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "run", again=[CONFIGS[5], CONFIGS[0]] * 3)


def section(view, title):
    [found] = [each for each in view.sections if each.title == title]
    return found


def html(view):
    renderer_of("html")(view, out := io.StringIO())
    return out.getvalue()


def test_the_numbers_are_those_of_show_and_recommend(run):
    found = read_facts(run)
    view = whole_report(found)
    shown = trials_view(found.study, found.trials, found.best, found.comparison, found.objective, found.comparing.left)
    told = as_dict(view)
    assert (view.title, view.answer) == (shown.title, shown.answer)
    tables = {t["name"]: t for part in told["sections"] for t in part["tables"]}
    assert tables["trials"] == as_dict(shown)["tables"][0]
    assert tables["ranking"]["rows"] == as_dict(View(tables=(ranking_table(recommend(run)),)))["tables"][0]["rows"]
    assert tables["comparison"] == as_dict(shown)["sections"][0]["tables"][0]
    assert found.best is not None
    best = tables["recommendation"]["rows"][0]
    assert (best["config"], best["rate_rps"]["value"]) == (found.best.config, found.best.metrics["rps"])
    front = tables["pareto"]["rows"]
    ranked = {json.dumps(row["config"]): row for row in tables["ranking"]["rows"]}
    assert all(row["rate_rps"] == ranked[json.dumps(row["config"])]["rate_rps"] for row in front)


def test_every_trial_is_in_the_convergence_once_and_the_best_never_falls(run):
    found = read_facts(run)
    [chart] = section(whole_report(found), "How the search went").charts
    dots = [dot for series in chart.series if series.kind in ("measured", "failed") for dot in series.dots]
    assert sorted(dot.x for dot in dots) == [t.number for t in found.searched]
    [best] = [series for series in chart.series if series.kind == "steps"]
    heights = [dot.y for dot in best.dots]
    assert heights == sorted(heights) and heights[-1] == max(t.value for t in found.searched)


def test_of_emulated_trials_alone_nothing_is_said_of_other_processes():
    """No process ran whose cores others could have used."""
    uncounted = "It was not counted what other processes used."
    for emulated, said in (((True, True), False), ((True, False), True), ((False, False), True)):
        trials = [replace(measured(n + 1, n, 10.0), emulated=each) for n, each in enumerate(emulated)]
        notes = [note.text for note in section(whole_report(without(trials)), "What the numbers rest on").notes]
        assert (uncounted in notes) == said


def test_of_what_failed_the_reason_is_told():
    [chart] = section(whole_report(facts()), "How the search went").charts
    [failed] = [series for series in chart.series if series.kind == "failed"]
    assert [dot.x for dot in failed.dots] == [3] and "ValueError" in failed.dots[0].label
    assert any("ValueError" in note.text for note in section(whole_report(facts()), "All trials").notes)


def without(trials):
    return replace(facts(), trials=tuple(trials))


STATES = {
    "nothing measured": (without([]), "Nothing has been measured yet."),
    "all failed": (without([measured(1, 0, None), measured(2, 1, None)]), "No configuration counts: none of them"),
    "none keeps its limits": (
        without([replace(measured(1, 0, 10.0), value=None)]), "No configuration counts: none keeps all limits."
    ),
    "interrupted": (
        replace(without([measured(1, 0, 10.0)]), unfinished=True), "The study is not over: 1 of 5 trials has ended."
    ),
}  # fmt: skip


@pytest.mark.parametrize("state", STATES)
def test_there_is_a_report_whatever_became_of_a_run_which_says_so(state):
    found, said = STATES[state]
    view = whole_report(found)
    assert any(note.text.startswith(said) for note in view.notes)
    assert said in html(view)


@pytest.mark.parametrize("many", [5, 500])
def test_few_and_many_trials(many):
    trials = [measured(n + 1, n % 5, None if n % 3 == 2 else 10.0 + n) for n in range(many)]
    assert len(section(whole_report(without(trials)), "All trials").tables[0].rows) == many


def knobs_of(count):
    knobs = ", ".join(f"k{at}: {{kind: args, values: [1, 2]}}" for at in range(count - 1))
    text = SPEC.replace("{cpu_cores: [1, 2], max_batch_size: [1, 4, 16]}", f"{{max_batch_size: [1, 4], {knobs}}}")
    return text.replace('model: {build: "cluster.emulated:model", args: {profile: bert-base}}', 'model: {build: "a:b"}')


@pytest.mark.parametrize(("count", "planes"), [(1, 1), (2, 1), (10, 45)])
def test_one_knob_has_a_plane_and_ten_have_one_for_each_pair(count, planes):
    spec = parse_spec(Document(knobs_of(count), "s.yaml"), folder=Path("."))
    config = spec.default_config
    trial = replace(measured(1, 0, 10.0), config=config)
    [chart] = section(whole_report(replace(without([trial]), spec=spec)), "Any two knobs").charts
    assert len(chart.planes) == planes


def test_limits_are_told_with_how_each_was_held():
    held = {"limit": "cpu_cores", "asked": "2", "enforced": True, "how": "pinned", "given": None}
    not_held = {**held, "limit": "gpu_memory", "enforced": False, "how": "no MPS"}
    trial = measured(1, 0, 10.0)
    outcome = Outcome(trial.outcome.metrics, enforcements=[held, not_held], hostname="host-1")
    found = section(whole_report(without([replace(trial, outcome=outcome)])), "What the numbers rest on")
    assert [row.cells for row in found.tables[0].rows] == [
        ("cpu_cores", "yes", "pinned", 1), ("gpu_memory", "no", "no MPS", 1)
    ]  # fmt: skip
    assert any("host-1" in note.text for note in found.notes)


@pytest.mark.parametrize(
    ("points", "front"),
    [
        ([(1.0, 10.0), (2.0, 20.0), (3.0, 15.0)], [0, 1]),
        ([(2.0, 20.0), (1.0, 20.0)], [1]),
        ([(1.0, 10.0), (1.0, 12.0)], [1]),
        ([(1.0, 10.0), (1.0, 10.0)], [0]),
        ([], []),
    ],
)  # fmt: skip
def test_on_the_front_nothing_is_cheaper_and_as_fast(points, front):
    assert pareto(points) == front
