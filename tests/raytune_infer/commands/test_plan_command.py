"""`plan` builds two models, and shows how one becomes the other; what it shows adds up."""

import json
import sys
from typing import Any

import pytest
from typer.testing import CliRunner

from raytune_infer.commands.app import app
from raytune_infer.errors import UserError
from raytune_infer.report.words.conversion_plan import asked_way, plan_view
from serve_deployments.transform.planning.plan_cache import PlanCache
from tests.serve_deployments.transform.test_planning import BASE, COSTS, FINE, OTHER

MODELS = """\
import torch
from torch import nn

def small(seed=1):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2)).eval()

def tuned():
    model = small()
    torch.nn.init.zeros_(model[2].weight)
    return model

def served():
    model = tuned()
    return lambda payloads: list(model(torch.tensor(payloads)))

def numbers():
    return lambda payloads: payloads
"""
SERVICE = """\
name: tuned
model: {build: "plan_models:served"}
samples: [[0.0, 0, 0, 0, 0, 0, 0, 0]]
knobs: {cpu_cores: [1]}
objective: {maximize: rps}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "plan_models.py").write_text(MODELS)
    (tmp_path / "service.yaml").write_text(SERVICE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("serve_deployments.transform.profiling.profile.SIZES", ((1, 16), (2, 64)))
    yield tmp_path
    sys.modules.pop("plan_models", None)


def run(*words):
    return CliRunner().invoke(app, ["plan", *words])


def table(said, name):
    [found] = [each for each in json.loads(said.stdout)["tables"] if each["name"] == name]
    return found["rows"]


def test_a_service_and_a_builder_whose_models_differ_in_one_layer(folder):
    said = run("plan_models:small", "service.yaml", "--format", "json", "--store", "models")
    assert said.exit_code == 0, said.exception
    ways = {row["way"]: row["ms"] for row in table(said, "ways")}
    assert set(ways) == {"difference", "repoint", "in place", "scratch", "new replica"}
    *steps, total = table(said, "steps")
    assert total["ms"] == pytest.approx(sum(step["ms"] for step in steps)) == min(ways.values())
    assert total["mb"] == pytest.approx(2 * 8 * 4 / 1e6)  # the one weight that was changed
    kept = sorted(file.name for file in (folder / "models").iterdir())
    assert {"A-small.model.json", "B-tuned.model.json", "costs.json"} < set(kept)


def test_the_papers_operators_step_by_step_and_nothing_left_behind(folder):
    before = sorted(folder.iterdir())
    said = run("plan_models:small", "plan_models:tuned", "--way", "operators", "--format", "json")
    actions = [step["action"] for step in table(said, "steps")]
    assert actions == ["build", "Replace", "Replace", "Replace", "Edge", "total"]
    assert [file for file in sorted(folder.iterdir()) if file.name != "__pycache__"] == before


def test_a_model_without_a_graph_is_built_and_the_reason_said(folder):
    said = run("plan_models:small", "plan_models:numbers")
    assert said.exit_code == 0 and "naive" in said.stdout
    assert "holds no torch.nn.Module" in " ".join(said.stdout.split())


def test_what_can_be_mended_is_said_in_a_sentence(folder):
    for words, expected in (
        (("plan_models:nobody", "plan_models:small"), "A: 'plan_models:nobody': plan_models has no 'nobody'"),
        (("plan_models:small", "gone.yaml"), "gone.yaml"),
        (("plan_models:small", "plan_models:small", "--way", "fast"), "no such way; there are 'resident'"),
        (("plan_models:small", "plan_models:tuned", "--way", "resident"), "it can by difference, repoint"),
    ):
        said = run(*words)
        assert said.exit_code == 1 and expected in str(said.exception)
        assert isinstance(said.exception, UserError)


def cache():
    made = PlanCache(COSTS)
    for model in (BASE, FINE, OTHER):
        made.register(model)
    return made


def test_a_view_has_the_cheapest_plan_first_and_marks_it():
    view = plan_view(cache(), "base", "fine")
    steps, ways = view.tables
    assert view.title == "base → fine: difference, 14.2 ms"
    assert [row.emphasis for row in ways.rows] == ["best", "", "", "", ""]
    prices: list[Any] = ways.column("ms")
    assert prices == sorted(prices) and steps.rows[-1].cells[-1] == pytest.approx(14.2)
    assert "of 0.01 MB in 3 operations of fine, 0.00 MB are in base too" in view.notes[0].text
    assert "(3 Replace, 0 Reshape, 0 Reduce, 0 Add)" in view.notes[1].text
    shown = plan_view(cache(), "base", "other", kept=True)
    assert "have different structures" in shown.notes[0].text and shown.title.startswith("base → other: difference")


def test_every_way_has_a_name_on_the_command_line():
    assert asked_way(None) is None and asked_way("in place").value == "in place"
    with pytest.raises(UserError, match="'operators', 'naive'"):
        asked_way("quick")
