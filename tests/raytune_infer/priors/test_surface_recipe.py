"""From formulas and one's own finished studies to a file of surfaces with its card."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from raytune_infer.commands.app import app
from raytune_infer.errors import RunError, UserError
from raytune_infer.priors.emulated_services import random_service
from raytune_infer.priors.studied_tasks import measured_tasks
from raytune_infer.priors.surface_judge import fitted, score
from raytune_infer.priors.surface_recipe import SurfaceRecipe, card_text, recipe_of, train_surfaces
from raytune_infer.store.database import Database
from raytune_infer.store.records import Outcome
from raytune_infer.store.run_folder import RunFolder
from searchers.surfaces.belief import SurfaceModel, pretrained
from searchers.surfaces.tasks import studied
from searchers.surfaces.training import Training

KNOBS: dict[str, list] = {"gpu_type": ["none", "T4"], "max_batch_size": [1, 2, 4], "compile": [True, False]}
TINY = SurfaceRecipe(
    services=24, held_out=2, training=Training(steps=8, latents=3, tasks_per_step=8, points_per_task=6, points=24)
)


def study(database: Database, trials: int, spec: str = "name: s\nfacts: {parameters_million: 110, note: x}"):
    made = database.create_study(
        name="s", spec=spec, folder="/", searcher="random", seed=1, trials=trials, fingerprint={"knobs": KNOBS},
        emulated=None,
    )  # fmt: skip
    for i in range(trials):
        config = {"gpu_type": "T4", "max_batch_size": KNOBS["max_batch_size"][i % 3], "compile": i < 3}
        key, _ = database.start_trial(
            made, purpose="search", position=i, config=config, usd_per_hour=0.5, emulated=False
        )
        outcome = Outcome(None, reason="OutOfMemory") if i == 1 else Outcome({"rps": 2.0 + i, "p99_ms": 9.0})
        database.finish_trial(key, outcome, None)
    return made


def test_every_finished_study_is_a_task(tmp_path):
    path = tmp_path / "history.db"
    database = Database(f"sqlite:///{path}")
    made, _ = study(database, 5), study(database, 2)
    assert len(database.studies()) == 2
    database.close()
    RunFolder(tmp_path, None, made.id).save()
    for place in (str(path), f"sqlite:///{path}", str(tmp_path)):
        [task] = measured_tasks([place])
        assert task.facts == {"parameters_million": 110.0}
        assert [o.metrics is None for o in task.observed] == [False, True, False, False, False]
        assert task.observed[0].metrics == {"rps": 2.0, "p99_ms": 9.0, "usd_per_hour": 0.5} and task.group == "s"
        assert task.space[task.observed[4].position] == {"gpu_type": "T4", "max_batch_size": 2, "compile": False}
        assert {"log2_gpu_memory_gib", "log2_max_batch_size", "compile=True"} <= set(task.space.columns)


def test_places_that_hold_no_study(tmp_path):
    with pytest.raises(RunError, match="no run in"):
        measured_tasks([str(tmp_path)])
    Database(f"sqlite:///{tmp_path / 'h.db'}").close()
    with pytest.raises(RunError, match="no study with 3 trials that ran"):
        measured_tasks([str(tmp_path / "h.db")])
    database = Database(f"sqlite:///{tmp_path / 'old.db'}")
    made = database.create_study(
        name="old", spec="", folder="/", searcher="random", seed=1, trials=3,
        fingerprint={"knobs": {"gpu_type": ["T5"]}}, emulated=None,
    )  # fmt: skip
    for i in range(3):
        key, _ = database.start_trial(
            made, purpose="search", position=i, config={"gpu_type": "T5"}, usd_per_hour=1, emulated=False
        )
        database.finish_trial(key, Outcome({"rps": 1.0}), 1.0)
    database.close()
    with pytest.raises(RunError, match="cannot learn from study 1, 'old': .*T5"):
        measured_tasks([str(tmp_path / "old.db")])


def test_a_training_writes_surfaces_and_their_card(tmp_path):
    seen: list[int] = []
    measured = [random_service(np.random.default_rng(9), 30)]
    out = tmp_path / "s.safetensors"
    model = train_surfaces(out, TINY, measured=measured, progress=lambda i, _: seen.append(i))
    assert seen == list(range(8))
    again = SurfaceModel.load(out)
    assert again.card == json.loads(json.dumps(model.card))
    card = out.with_suffix(".md").read_text()
    assert "24 services that exist only as formulas" in card and "1 measured tasks" in card
    assert "| steps | 8 |" in card and ", rate | " in card and "`ln parameters_billion`" in card
    assert "meta-train --model surfaces --steps 8 --seed 0 --from STUDIES --out surfaces.safetensors\n" in card
    assert f"with torch {torch.__version__}, numpy {np.__version__}." in card
    same = train_surfaces(tmp_path / "t.safetensors", TINY, measured=measured)
    assert all(np.array_equal(v.numpy(), same.weights[k].numpy()) for k, v in model.weights.items())
    row = studied(measured[0])
    said = score(fitted(model, row, np.arange(5), np.random.default_rng(0)), row)
    assert {"rate", "latency"} <= set(said) and -1 <= said["rate"]["correlation"] <= 1


def test_the_recipe_from_the_command_line():
    assert recipe_of() == SurfaceRecipe()
    assert recipe_of(steps=7, seed=3).training.steps == 7 and recipe_of(seed=3).seed == 3


def test_meta_train_from_the_command_line(tmp_path, monkeypatch):
    monkeypatch.setattr("raytune_infer.priors.surface_recipe.recipe_of", lambda steps, seed: replace(TINY, seed=seed))
    database = Database(f"sqlite:///{tmp_path / 'history.db'}")
    study(database, 6)
    database.close()
    out, words = tmp_path / "s.safetensors", ["meta-train", "--out", str(tmp_path / "s.safetensors")]
    done = CliRunner().invoke(app, [*words, "--from", str(tmp_path / "history.db"), "--seed", "2"])
    assert done.exit_code == 0, done.output
    card = SurfaceModel.load(out).card
    assert "1 measured tasks" in card["data"] and card["recipe"]["seed"] == 2
    refused = CliRunner().invoke(app, [*words, "--model", "morphling", "--from", "nowhere"])
    assert isinstance(refused.exception, UserError) and "leave --from out" in str(refused.exception)
    assert "no run in nowhere" in str(CliRunner().invoke(app, [*words, "--from", "nowhere"]).exception)


def test_what_is_trained_on_how_often_and_by_what_it_is_judged(tmp_path, monkeypatch):
    kept: dict[str, tuple] = {}

    def train(tasks, training, seed, *, weights, progress):
        kept["trained"] = (list(tasks), training, seed, weights.tolist())
        return pretrained()

    def judge(model, tasks, points, seed):
        kept["judged"] = (list(tasks), points, seed)
        return {}

    home = "raytune_infer.priors.surface_recipe"
    monkeypatch.setattr(f"{home}.random_service", lambda rng, points, gpus: (int(rng.integers(10**12)), points))
    monkeypatch.setattr(f"{home}.train", train)
    monkeypatch.setattr(f"{home}.judge", judge)
    recipe = replace(TINY, services=4, held_out=3, measured_weight=7.0, seed=5)
    mine: list[Any] = ["mine", "yours"]
    train_surfaces(tmp_path / "s.safetensors", recipe, measured=mine)
    tasks, training, seed, weights = kept["trained"]
    assert tasks[4:] == ["mine", "yours"] and weights == [1.0] * 4 + [7.0] * 2
    assert (training, seed) == (recipe.training, 5) and len(set(tasks[:4])) == 4
    unseen, points, judged_by = kept["judged"]
    assert len(unseen) == 3 and not set(unseen) & set(tasks) and (points, judged_by) == ((0, 5, 10), 5)
    assert {points for _, points in (*unseen, *tasks[:4])} == {recipe.training.points}
    first = tasks[:4]
    train_surfaces(tmp_path / "s.safetensors", replace(recipe, seed=6))
    assert not set(kept["trained"][0]) & set(first) and kept["trained"][3] == [1.0] * 4


def test_the_card_has_each_score_each_input_and_the_recipe_where_they_belong():
    scores = {
        "generation, rate": {
            n: {"correlation": c, "rmse": r} for n, c, r in (("0", 0.5, 0.4), ("5", 0.75, 0.3), ("10", 0.875, 0.125))
        },
        "generation, can run": {"0": {"auc": 0.5}, "5": {"auc": 0.625}, "10": {"auc": 1.0}},
    }
    shipped = pretrained()
    text = card_text(replace(shipped, card={**shipped.card, "held_out": scores}))
    lines = text.splitlines()
    at = lines.index("| family, role | facts alone | 5 trials | 10 trials |")
    assert lines[at + 1 : at + 5] == [
        "|:---|---:|---:|---:|",
        "| generation, rate | 0.500, 0.400 | 0.750, 0.300 | 0.875, 0.125 |",
        "| generation, can run | 0.500 | 0.625 | 1.000 |",
        "",
    ]
    inputs = shipped.inputs
    told = {line.split("|")[1].strip(): line.split("|")[2:4] for line in lines if line.startswith("| `")}
    assert list(told) == [f"`{name}`" for name in (*inputs.columns, *(f"ln {fact}" for fact in inputs.facts))]
    for name, mean, scale in (
        *zip(inputs.columns, inputs.mean, inputs.scale, strict=True),
        *zip((f"ln {fact}" for fact in inputs.facts), inputs.fact_mean, inputs.fact_scale, strict=True),
    ):
        assert [float(cell) for cell in told[f"`{name}`"]] == pytest.approx([mean, scale], abs=6e-4)
    recipe = shipped.card["recipe"]
    for name, value in {**{k: v for k, v in recipe.items() if k != "training"}, **recipe["training"]}.items():
        assert f"| {name} | {value} |" in lines
    assert f"on {recipe['held_out']} held-out emulated services" in text
