"""The whole report: each number is that of the other commands, and there is a report whatever became of a run."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from raytune_infer.ranking.recommendation import recommend
from raytune_infer.report.chart import Quantity
from raytune_infer.report.recommendation_report import ranking_table
from raytune_infer.report.renderers import renderer_of
from raytune_infer.report.renderers.chart_tables import table_of
from raytune_infer.report.renderers.json_view import as_dict
from raytune_infer.report.study_report import trials_view
from raytune_infer.report.view import View
from raytune_infer.report.whole.cost import pareto
from raytune_infer.report.whole.goal import goal_figure
from raytune_infer.report.whole.run_facts import read_facts
from raytune_infer.report.whole.whole_report import whole_report
from raytune_infer.spec.document import Document
from raytune_infer.spec.service_spec import ModelSpec, parse_spec
from raytune_infer.store.records import Outcome
from raytune_infer.store.run_folder import RunFolder
from searchers.objective import Expression, Objective
from serve_deployments.replicas.http.payload_type import PayloadType
from serve_deployments.resources.usage import Usage
from tests.raytune_infer.ranking.measured_runs import CONFIGS, SPEC, write_run
from tests.raytune_infer.ranking.measured_runs import measured as measured_rate
from tests.raytune_infer.ranking.ranked_trials import level
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
    heights = [dot.y.value for dot in best.dots]
    assert all(dot.y.low is dot.y.high is None for dot in best.dots), "intervals are those of trials"
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


def of_knobs(knobs, trials):
    """Facts of a service with these knobs, and with these configurations and rates."""
    text = knobs_of(1).replace("{max_batch_size: [1, 4], }", knobs)
    spec = parse_spec(Document(text, "s.yaml"), folder=Path("."))
    done = [replace(measured(n, n - 1, rps), config=config) for n, (config, rps) in enumerate(trials, 1)]
    return replace(without(done), spec=spec)


def test_values_that_are_equal_in_words_have_cells_and_names_of_their_own():
    knobs = 'max_batch_size: [1, 4], q: {kind: args, values: ["8", 8]}'
    rates = {"8": 40.0, 8: 10.0}
    found = of_knobs("{" + knobs + "}", [({"max_batch_size": 1, "q": q}, rps) for q, rps in rates.items()])
    [failed] = of_knobs("{" + knobs + "}", [({"max_batch_size": 1, "q": 8}, None)]).trials
    [chart] = section(whole_report(replace(found, trials=(found.trials[0], failed))), "Any two knobs").charts
    [plane] = chart.planes
    assert plane.y_values == ('"8"', "8")
    assert [(cell.x, cell.y, bool(cell.failed)) for cell in plane.cells if cell.failed] == [(0, 1, True)]


def test_a_large_plane_shows_some_values_those_that_were_tried_first_and_says_so():
    sizes = list(range(1, 901))
    knobs = f"{{max_batch_size: {sizes}, k: {{kind: args, values: {sizes}}}}}"
    tried = [({"max_batch_size": 7, "k": 13}, 10.0), ({"max_batch_size": 7, "k": 899}, None)]
    [chart] = section(whole_report(of_knobs(knobs, tried)), "Any two knobs").charts
    [plane] = chart.planes
    assert len(plane.x_values) == len(plane.y_values) == 40
    assert {"1", "7", "900"} <= set(plane.x_values) and {"1", "13", "899"} <= set(plane.y_values)
    assert "Of k 40 of 900 values are shown" in chart.caption and "Of max_batch_size 40" in chart.caption


def minimised(trials):
    text = SPEC.replace("maximize: rps / usd_per_hour", "minimize: p99_ms").replace("limits: {p99_ms: 100}", "")
    text += "load: {find: peak}\n"
    return replace(without(trials), spec=parse_spec(Document(text, "s.yaml"), folder=Path(".")))


def test_what_does_not_count_is_marked_where_it_does_not_look_best():
    """Of latencies, of which less is better, that is above all others; its table has no figure for it."""
    trials = [replace(measured(1, 0, 10.0), value=1 / 56.789), measured(2, 1, None)]
    [chart] = section(whole_report(minimised(trials)), "How the search went").charts
    by_kind = {series.kind: series for series in chart.series}
    assert by_kind["failed"].dots[0].y.value > by_kind["measured"].dots[0].y.value and "upper" in by_kind["failed"].name
    assert [row.cells[2] for row in table_of(chart).rows if "could not" in str(row.cells[0])] == [None]
    [chart] = section(whole_report(without([measured(1, 0, 10.0), measured(2, 1, None)])), "How the search went").charts
    assert [series.dots[0].y.value for series in chart.series if series.kind == "failed"] == [0.0]


def test_a_trial_that_ended_early_is_told_from_those_whose_rate_is_known():
    [chart] = section(whole_report(facts()), "How the search went").charts
    numbers = {series.kind: [dot.x for dot in series.dots] for series in chart.series}
    assert (numbers["measured"], numbers["early"]) == ([1, 2, 5], [4])


RATE = Quantity(10.0, 8.0, 16.0, at_least=True, estimated=True)


@pytest.mark.parametrize(
    ("goal", "minimize", "figure", "expected"),
    [
        ("rps / usd_per_hour", False, 5.0, Quantity(5.0, 4.0, 8.0, at_least=True, estimated=True)),
        ("usd_per_hour / rps", True, 0.2, Quantity(0.2, 0.125, 0.25, at_most=True, estimated=True)),
        # What else is measured is not known at the ends of the rate's interval.
        ("rps / p99_ms", False, 0.1, Quantity(0.1, estimated=True)),
        ("p99_ms", True, 100.0, Quantity(100.0, estimated=True)),
    ],
)  # fmt: skip
def test_a_figure_has_the_interval_of_its_rate_where_the_goal_is_of_nothing_else(goal, minimize, figure, expected):
    objective = Objective(Expression(goal), minimize=minimize)
    assert goal_figure(objective, figure, RATE, {"p99_ms": 100.0}, 2.0) == expected
    assert goal_figure(objective, figure, None, {}, 2.0) == Quantity(figure)


@pytest.mark.parametrize(
    ("url", "words"), [(None, ""), ("postgresql://me:word@host/db", " --db 'postgresql://me:***@host/db'")]
)
def test_the_command_that_exports_names_the_database_where_it_is_not_in_the_folder(url, words):
    run = RunFolder(Path("run"), url, 1)
    outcome = Outcome(measured(1, 0, 10.0).metrics, settings={"cpu_cores": 2.0, "args": {}})
    found = replace(without([replace(measured(1, 0, 10.0), outcome=outcome)]), run=run)
    commands, settings = section(whole_report(found), "How to deploy it").tables
    assert commands.rows[0].cells[1] == f"raytune-infer export run{words} > serve_config.yaml"
    assert [row.cells for row in settings.rows] == [("cpu_cores", "2.0")]


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


def test_a_reader_who_has_only_the_report_finds_what_was_asked(run):
    found = read_facts(run)
    asked = section(whole_report(found), "What was asked").tables[0]
    told = dict(zip((column.name for column in asked.columns), asked.rows[0].cells, strict=True))
    assert told["knob max_batch_size"] == ", ".join(map(str, found.spec.values("max_batch_size")))
    assert told["model"].startswith(found.spec.model.build or found.spec.model.path)
    assert told["prices"] == "cloud-2026, 2026-01-15" and told["searcher"] == f"{found.study.searcher}, seed 0"
    secret = replace(found, spec=found.spec.model_copy(update={"model": ModelSpec(build="m:f", args={"key": "xyzzy"})}))
    assert "xyzzy" not in html(whole_report(secret)) and "with the arguments key" in html(whole_report(secret))


def test_a_study_that_has_just_begun_has_not_failed(run):
    found = read_facts(run)
    begun = whole_report(replace(found, trials=(), unfinished=True))
    assert all(note.kind != "failure" for note in begun.notes)
    assert any("has had" not in note.text and "0 of" in note.text for note in begun.notes)


def test_what_other_processes_used_is_told_trial_by_trial():
    trials = []
    for number, share in enumerate((0.3, 0.0), 1):
        used = Usage(seconds=10.0, others_s=20 * share, cores_s=20.0)
        trials.append(measured(number, number - 1, 10.0, levels=(level(10, 50, usage=used),)))
    notes = [note.text for note in section(whole_report(without(trials)), "What the numbers rest on").notes]
    assert "Other processes used cores of these trials: 1 (30%)." in notes
    notes = [note.text for note in section(whole_report(without(trials[1:])), "What the numbers rest on").notes]
    assert "No other process noticeably used the cores of a trial." in notes


def test_what_was_cut_off_or_compared_before_is_told():
    found = replace(facts(), set_aside={"interrupted": (10,), "superseded": (11, 12)})
    notes = [note.text for note in section(whole_report(found), "All trials").notes]
    assert any(note.startswith("trial 10: cut off as the study was interrupted") for note in notes)
    assert any(note.startswith("trials 11, 12: of a comparison that came before more") for note in notes)


def test_the_machine_and_the_versions_are_told_each_time_that_they_were_others():
    on = {"processor": "Xeon", "cores": "4", "ray": "2.1"}
    two = "the driver ran on (1)", "the driver ran on (2)"
    for made_on, heads in (((on,), ("the driver ran on",)), ((on, {**on, "ray": "2.2"}), two)):
        found = replace(facts(), run=replace(facts().run, made_on=made_on))
        [table] = section(whole_report(found), "What the numbers rest on").tables
        assert tuple(row.cells[0] for row in table.rows) == heads
        assert table.column("ray") == [each["ray"] for each in made_on] and table.column("cores")[0] == "4"


def test_beside_a_kept_default_stands_the_best_of_the_others_and_why_it_was_not_taken(tmp_path):
    alike = measured_rate({"cpu_cores": 1, "max_batch_size": 1}, {"p99_ms": 100})
    text = SPEC.replace("cpu_cores: [1, 2]", "cpu_cores: [1]").replace("[1, 4, 16]", "[1, 4]")
    configs = [{"cpu_cores": 1, "max_batch_size": size} for size in (1, 4)]
    run = write_run(tmp_path / "run", text, configs=configs, again=configs * 2, measure=lambda *_: alike)
    [table] = [t for t in section(whole_report(read_facts(run)), "Recommended against default").tables
               if t.name == "recommendation"]  # fmt: skip
    assert table.column("role") == ["the default", "best of the others"]
    assert [row["max_batch_size"] for row in table.column("config")] == [1, 4]
    assert str(table.column("remarks")[1]).startswith("1.0") and "not to be told apart from it" in str(
        table.column("remarks")[1]
    )


def test_the_config_is_in_the_report_without_samples_and_texts_of_arguments(tmp_path):
    text = SPEC.replace("{profile: bert-base}", "{profile: bert-base, key: xyzzy}").replace("[x]", "[plugh]")

    def keyed(config, at_most):
        outcome = measured_rate(config, at_most)
        return replace(outcome, settings={**outcome.settings, "args": {"profile": "bert-base", "key": "xyzzy"}})

    run = write_run(tmp_path / "run", text, configs=CONFIGS[:1], measure=keyed)
    found = read_facts(run)
    told = section(whole_report(found), "How to deploy it")
    assert not told.listings  # of a run that did not keep the type of its samples
    kept = replace(found, run=replace(found.run, payload_type=PayloadType.of(["x"]).as_dict()))
    view = whole_report(kept)
    [listing] = section(view, "How to deploy it").listings
    config = yaml.safe_load(listing.text)
    [application] = config["applications"]
    assert application["args"]["settings"]["args"] == {"profile": "...", "key": "..."}
    assert application["deployments"][0]["max_ongoing_requests"] >= 1
    page = html(view)
    assert "xyzzy" not in page and "plugh" not in listing.text and "<pre># " in page
    trial = kept.trials[0]
    odd = replace(trial, outcome=replace(trial.outcome, settings={**trial.outcome.settings, "cpu_cores": 7.0}))
    warned = section(whole_report(replace(kept, trials=(odd,))), "How to deploy it")
    assert not warned.listings and any("was changed after it was measured" in note.text for note in warned.notes)
