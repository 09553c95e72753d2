"""A whole study of a service with `where` and `when`: only what is allowed runs, with what exists in it."""

import json

import pytest

from raytune_infer.errors import RunError
from raytune_infer.priors.studied_tasks import measured_tasks
from raytune_infer.ranking.recommendation import recommend
from raytune_infer.report.chart import Planes
from raytune_infer.report.export.trust import recorded_settings
from raytune_infer.report.whole.output.report_file import write_report
from raytune_infer.report.whole.planes import planes_view
from raytune_infer.report.whole.question import question_view
from raytune_infer.report.whole.run_facts import facts_of
from tests.raytune_infer.study.stop_after import Notes
from tests.raytune_infer.study.whole_studies import Machine, study, without_ray

SPEC = """\
name: known
model: {build: "engine_of_args:build"}
samples: [x]
objective: {maximize: rps / usd_per_hour}
budget: {trials: 30, compare_s: 1000}
knobs:
  cpu_cores: [1, 2, 4]
  engine: {kind: args, values: [plain, paged]}
  block: {kind: args, values: [8, 16], when: 'engine == "paged"'}
  max_batch_size: {values: [4, 16], when: 'engine == "plain"'}
where: cpu_cores <= 2 or engine == "paged"
"""
ALLOWED = [
    *({"cpu_cores": cores, "engine": "plain", "max_batch_size": size} for cores in (1, 2) for size in (4, 16)),
    *({"cpu_cores": cores, "engine": "paged", "block": block} for cores in (1, 2, 4) for block in (8, 16)),
]


def in_order(configs):
    return sorted(json.dumps(config, sort_keys=True) for config in configs)


def run(monkeypatch, folder, text=SPEC, machine=None, **options):
    without_ray(monkeypatch)
    (folder / "engine_of_args.py").write_text("def build(engine, block=4):\n    return lambda rows: rows\n")
    return study(folder / "run", machine or Machine(), text, folder=folder, **options)


@pytest.mark.parametrize("searcher", ["random", "meta", "optuna-tpe"])
def test_every_allowed_configuration_is_tried_once_with_what_exists_in_it(monkeypatch, tmp_path, searcher):
    notes = Notes()
    result = run(monkeypatch, tmp_path, machine=(machine := Machine()), searcher=searcher).run(progress=notes)
    tried = [t for t in result.trials if t.purpose == "search"]
    assert in_order(t.config for t in tried) == in_order(ALLOWED)
    for trial, (_, settings, _) in zip(tried, machine.asked, strict=False):
        assert settings.args == {k: v for k, v in trial.config.items() if k in ("engine", "block")}
        assert settings.max_batch_size == trial.config.get("max_batch_size", 1)
    assert result.best.config == {"cpu_cores": 1, "engine": "plain", "max_batch_size": 16}
    assert result.default.config == {"cpu_cores": 1, "engine": "plain", "max_batch_size": 4}
    assert "`where` and `when` leave 10 configurations of 24 combinations of values" in notes.told


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    with pytest.MonkeyPatch.context() as monkeypatch:
        folder = tmp_path_factory.mktemp("conditions")
        return run(monkeypatch, folder, searcher="meta").run()


def test_what_is_written_of_a_run_leaves_out_what_is_not_there(finished):
    found = recommend(finished.run.path)
    assert found.best.config == finished.best.config
    (table,) = question_view(facts_of(finished.run)).tables
    cells = dict(zip([c.name for c in table.columns], table.rows[0].cells, strict=True))
    assert cells["knob block"] == '8, 16, when engine == "paged"'
    assert cells["where"] == 'cpu_cores <= 2 or engine == "paged"'
    assert cells["the default"] == "cpu_cores=1  engine=plain  max_batch_size=4"
    assert "cpu_cores=1  engine=plain  max_batch_size=16" in write_report(finished.run).read_text()


def test_cells_of_planes_that_are_not_allowed_are_blank_and_said_to_be(finished):
    (chart,) = planes_view(facts_of(finished.run)).charts
    assert isinstance(chart, Planes)
    planes = {(plane.x, plane.y): plane for plane in chart.planes}
    cores, engine = planes["cpu_cores", "engine"].x_values, planes["cpu_cores", "engine"].y_values
    there = {(cores[c.x], engine[c.y]) for c in planes["cpu_cores", "engine"].cells}
    assert there == {(c, e) for c in cores for e in engine} - {("4", "plain")}
    # The best configuration has no block, so its plane is that of the other engine.
    plane = planes["engine", "block"]
    assert {(plane.x_values[c.x], plane.y_values[c.y]) for c in plane.cells} == {("paged", "8"), ("paged", "16")}
    assert all(c.measured or c.failed for c in plane.cells)  # these are configurations that were tried
    assert planes["block", "max_batch_size"].cells == ()
    blank = {("cpu_cores", "engine"): 1, ("cpu_cores", "block"): 6, ("cpu_cores", "max_batch_size"): 2}
    blank |= {("engine", "block"): 2, ("engine", "max_batch_size"): 2, ("block", "max_batch_size"): 4}
    assert f"{sum(blank.values())} cells are blank: `where` or `when` rules them out." in chart.caption


def test_what_is_exported_must_be_allowed(finished):
    facts = facts_of(finished.run)
    trial = next(t for t in finished.trials if t.config == finished.best.config)
    assert recorded_settings(facts.spec, trial.config, trial.outcome.settings).args == {"engine": "plain"}
    for config, said in [
        ({**trial.config, "block": 8}, "does not allow"),
        ({"cpu_cores": 4, "engine": "plain", "max_batch_size": 4}, "does not allow"),
        ({"cpu_cores": 1, "engine": "plain"}, "does not allow"),
        ({"cpu_cores": 1, "max_batch_size": 4}, "does not have .engine"),
    ]:
        with pytest.raises(RunError, match=said):
            recorded_settings(facts.spec, config, trial.outcome.settings)


def test_a_later_study_learns_from_it(finished):
    (task,) = measured_tasks([str(finished.run.path)])
    assert in_order(task.space[i] for i in range(len(task.space))) == in_order(ALLOWED)


def test_other_conditions_are_another_study(monkeypatch, tmp_path):
    run(monkeypatch, tmp_path, searcher="random").run(3)
    assert len(run(monkeypatch, tmp_path).run(resume=True).trials) >= 3
    for old, new in [("cpu_cores <= 2", "cpu_cores < 3"), ('== "paged"\'', '!= "plain"\'')]:
        with pytest.raises(RunError, match="cannot resume .*conditions changed since"):
            run(monkeypatch, tmp_path, SPEC.replace(old, new)).run(resume=True)
