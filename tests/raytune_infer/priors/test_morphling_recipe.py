"""What the card of morphling's model says of its training: losses, recipe and columns, each where it belongs."""

import re

import numpy as np
import pytest
import torch

from raytune_infer.priors import morphling_recipe
from raytune_infer.priors.morphling_recipe import MorphlingRecipe, card_text, train
from searchers.morphling.maml import Tasks
from searchers.morphling.meta_model import MetaModel

RECIPE = MorphlingRecipe(tasks=3, points=4, episodes=250, shots=2, seed=7)
NAN = float("nan")


@pytest.fixture
def losses(monkeypatch):
    """What each episode ends with: no training, and three services of two columns."""
    given: list[float] = []

    def trained(tasks, start, *, progress, **how):
        for episode, loss in enumerate(given):
            progress(episode, loss)
        return start

    tasks = Tasks(torch.zeros(3, 4, 2), torch.full((3, 4), 0.25), ("a", "log2_b"))
    known = tasks, np.array([1.5, -2.0]), np.array([0.5, 3.0])
    monkeypatch.setattr("searchers.morphling.maml.meta_train", trained)
    monkeypatch.setattr(morphling_recipe, "synthetic_tasks", lambda recipe: known)
    return given


@pytest.mark.parametrize(
    ("of_episodes", "first", "last"),
    [
        ([float(i) for i in range(250)], 49.5, 199.5),
        ([float(i) for i in range(200)], 49.5, 149.5),
        ([float(i) for i in range(150)], 49.5, 99.5),  # the two overlap
        ([4.0, 2.0, 1.0], 2.0, 2.0),
        ([NAN, *(float(i) for i in range(1, 249)), NAN], 50.0, 199.0),  # an episode without a loss is none of them
    ],
)
def test_the_loss_at_the_start_and_at_the_end_are_medians_of_a_hundred_episodes(losses, of_episodes, first, last):
    losses += of_episodes
    seen: list[tuple[int, float]] = []
    card = train(RECIPE, lambda episode, loss: seen.append((episode, loss))).card
    assert (card["loss_first_100"], card["loss_last_100"]) == (first, last)
    assert [episode for episode, _ in seen] == list(range(len(of_episodes)))


def test_the_card_has_a_line_for_each_part_of_the_recipe_and_each_column(losses):
    losses += [0.5] * 100 + [0.125] * 100
    model = train(RECIPE)
    text = card_text(model)
    assert "median of the first 100 episodes 0.5000, of\nthe last 100 0.1250." in text
    assert re.findall(r"^\| `(.+)` \| (.+) \| (.+) \|$", text, re.MULTILINE) == [
        ("a", "1.500", "0.500"), ("log2_b", "-2.000", "3.000")
    ]  # fmt: skip
    recipe = dict(re.findall(r"^\| (\w+) \| ([^|]+) \|$", text, re.MULTILINE))
    assert recipe.pop("column", None) is None
    assert recipe == {
        "tasks": "3", "price_books": "cloud-2026, morphling-2021", "points": "4", "episodes": "250", "shots": "2",
        "step_size": "0.05", "meta_step_size": "0.003", "tasks_per_episode": "16", "good_share": "0.4", "seed": "7",
    }  # fmt: skip
    assert "\nraytune-infer meta-train --model morphling --steps 250 --seed 7 --out morphling.safetensors\n" in text
    # The first estimate of a service is what a configuration is worth on average, not nothing.
    assert float(model.weights["b2"]) == pytest.approx(0.25)


def test_a_model_has_its_card_wherever_it_is_read(losses, tmp_path):
    losses += [0.5, 0.25]
    model = train(RECIPE)
    model.save(tmp_path / "m.safetensors")
    again = MetaModel.load(tmp_path / "m.safetensors")
    assert card_text(again) == card_text(model)
