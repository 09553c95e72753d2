"""The dashboard against what Grafana takes and what a study shows; Prometheus itself is asked in test_scraped.py."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from raytune_infer.commands.app import app
from raytune_infer.study.monitoring.grafana import dashboard
from raytune_infer.study.monitoring.panels import PANELS, Panel, Query
from raytune_infer.study.monitoring.study_series import ALL_SERIES, BUDGET
from serve_deployments.metrics.shown.series import ANSWERED_RPS, CLIENTS, FAILED_SHARE, LATENCY_MS, OFFERED_RPS, Series


def test_every_figure_has_a_panel_and_every_panel_shows_figures():
    shown = {query.series.name for panel in PANELS for query in panel.queries}
    assert shown == {series.name for series in ALL_SERIES}


def test_panels_have_places_of_their_own_and_say_what_they_show():
    panels = json.loads(json.dumps(dashboard()))["panels"]
    assert [panel["id"] for panel in panels] == list(range(1, len(PANELS) + 1))
    cells = [
        (x, y)
        for at in (panel["gridPos"] for panel in panels)
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(set(cells)) == len(cells) and max(x for x, _ in cells) < 24
    assert all(panel["title"] and panel["description"].endswith(".") for panel in panels)


def test_each_query_selects_what_is_chosen_above_the_panels():
    made = dashboard((Panel("Two", "none", (Query(BUDGET, "{{study}}"), Query(BUDGET, "all", "sum"))),))
    one, two = made["panels"][0]["targets"]
    assert one["expr"] == 'ray_raytune_infer_trials_budget{study=~"$study",run=~"$run"}'
    assert two["expr"] == f"sum ({one['expr']})" and (one["refId"], two["refId"]) == ("A", "B")
    choices = {choice["name"]: choice for choice in made["templating"]["list"]}
    assert set(choices) == {"datasource", "study", "run"}
    assert choices["run"]["query"]["query"] == 'label_values(ray_raytune_infer_trials_budget{study=~"$study"}, run)'
    assert all(choices[name]["allValue"] == ".*" for name in ("study", "run"))


def test_of_levels_that_run_at_a_time_the_worst_latency_and_all_requests_are_shown():
    shown = {query.series: query.expression for panel in PANELS for query in panel.queries}
    assert shown[LATENCY_MS].startswith("max by (study, percentile) (ray_raytune_infer_level_latency_ms{")
    assert shown[FAILED_SHARE].startswith("max by (study) (")
    assert all(shown[series].startswith("sum by (study) (") for series in (OFFERED_RPS, ANSWERED_RPS, CLIENTS))


def test_the_budget_is_compared_with_the_trials_and_no_part_of_their_stack():
    (trials,) = (panel for panel in dashboard()["panels"] if panel["title"] == "Trials")
    (apart,) = trials["fieldConfig"]["overrides"]
    budget = next(target for target in trials["targets"] if "budget" in target["expr"])
    assert apart["matcher"] == {"id": "byName", "options": budget["legendFormat"]}
    assert {"id": "custom.stacking", "value": {"mode": "none"}} in apart["properties"]
    assert trials["fieldConfig"]["defaults"]["custom"]["stacking"] == {"mode": "normal"}


@pytest.mark.parametrize("name", ["rate_rps", "raytune_infer_", "raytune_infer_Rate", "raytune_infer_p99-ms"])
def test_names_that_prometheus_would_not_take_are_refused(name):
    with pytest.raises(ValueError, match="small letters"):
        Series(name, "What it says.")


def test_the_page_on_watching_tells_of_every_figure():
    page = (Path(__file__).parents[4] / "docs" / "watching.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `ray_raytune_infer_")]
    assert [(row.split("`")[1], row.split(" | ")[-1].removesuffix(" |")) for row in rows] == [
        (series.exported, series.meaning) for series in ALL_SERIES
    ]


def test_the_command_writes_it_or_prints_it_and_says_where_it_cannot(tmp_path):
    written = CliRunner().invoke(app, ["grafana", "-o", str(tmp_path / "study.json")])
    assert written.exit_code == 0 and not written.output
    printed = CliRunner().invoke(app, ["grafana"])
    assert json.loads(printed.stdout) == json.loads((tmp_path / "study.json").read_text()) == dashboard()
    refused = CliRunner().invoke(app, ["grafana", "--out", str(tmp_path / "none" / "study.json")])
    assert refused.exit_code == 1
    assert "No such file or directory; name a file in a folder that can be written to" in str(refused.exception)
