"""Meta-training of Morphling's shipped model on synthetic services; writes its weights and their card.

The 42 profiles of `cluster.emulated.profiles` are held out: tasks have random profiles, so no known model is used.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from cluster.prices import load_prices
from raytune_infer.priors.emulated_tasks import random_table
from raytune_infer.priors.weights_card import how_it_is_made, libraries, recipe_table
from searchers.morphling.maml import Tasks, meta_train_for_search
from searchers.morphling.meta_model import MetaModel
from searchers.morphling.morphling import inputs_of
from searchers.replay import MeasuredTable


@dataclass(frozen=True)
class MorphlingRecipe:
    """Parameters of the shipped model's training. Values are our choice, by the final loss of short runs.

    Args:
        tasks: number of synthetic services.
        price_books: names of the built-in price books that their GPUs and prices are drawn from. A book that is added
            must not change what the recipe draws, so it belongs here only once the model is trained anew.
        points: number of configurations drawn from each.
        episodes: number of outer steps.
        shots: K, the largest number of points that are seen; each episode draws its own number.
        step_size: α, the inner step size.
        meta_step_size: β, the outer step size at the start.
        tasks_per_episode: number of tasks in one outer step.
        good_share: share of a task's points that are drawn from its best tenth, where a search ends up.
        seed: seed of everything random.
    """

    tasks: int = 4000
    price_books: tuple[str, ...] = ("cloud-2026", "morphling-2021")
    points: int = 192
    episodes: int = 4000
    shots: int = 20
    step_size: float = 0.05
    meta_step_size: float = 3e-3
    tasks_per_episode: int = 16
    good_share: float = 0.4
    seed: int = 0


def synthetic_tasks(recipe: MorphlingRecipe) -> tuple[Tasks, np.ndarray, np.ndarray]:
    """Return the tasks to learn from, and the `[d]` mean and scale that standardise their columns."""
    rng = np.random.default_rng(recipe.seed)
    books = [load_prices(name) for name in recipe.price_books]
    raw = [_sample(rng, random_table(rng, books), recipe) for _ in range(recipe.tasks)]
    columns = tuple(sorted({column for _, names, _ in raw for column in names}))
    # NaN where a task lacks the column, so that its rows do not count in the mean.
    x = np.full((recipe.tasks, recipe.points, len(columns)), np.nan)
    for i, (features, names, _) in enumerate(raw):
        x[i][:, [columns.index(name) for name in names]] = features
    mean, scale = np.nanmean(x, axis=(0, 1)), np.nanstd(x, axis=(0, 1))
    x = np.nan_to_num((x - mean) / scale, nan=0.0)
    y = np.stack([values for _, _, values in raw])
    return Tasks(torch.from_numpy(x).float(), torch.from_numpy(y).float(), columns), mean, scale


def _sample(
    rng: np.random.Generator, table: MeasuredTable, recipe: MorphlingRecipe
) -> tuple[np.ndarray, tuple[str, ...], np.ndarray]:
    """Draw configurations: `[points, c]` raw inputs, their c columns, `[points]` values as fractions of the best."""
    features, columns = inputs_of(table.problem)
    values = table.values() / table.values().max()
    best = np.argsort(-values)[: max(1, len(values) // 10)]
    good = rng.choice(best, int(recipe.good_share * recipe.points))
    other = rng.choice(len(values), recipe.points - len(good), replace=len(values) < recipe.points)
    chosen = np.concatenate([good, other])
    return features[chosen], columns, values[chosen]


def train_morphling(
    out: Path,
    recipe: MorphlingRecipe,
    *,
    progress: Callable[[int, float], None] | None = None,
) -> MetaModel:
    """Meta-train a model and write it to `out`, with a card for people beside it (`.md`).

    Args:
        out: the safetensors file; its folder is created.
        recipe: parameters of the training; the shipped model has the defaults.
        progress: called with the episode and its loss.
    """
    threads = torch.get_num_threads()
    # Matrices of 128 columns are too small for several threads; one thread also makes runs repeatable.
    torch.set_num_threads(1)
    try:
        model = train(recipe, progress)
    finally:
        torch.set_num_threads(threads)
    model.save(out)
    out.with_suffix(".md").write_text(card_text(model), encoding="utf-8")
    return model


def card_text(model: MetaModel) -> str:
    """Return the model card as markdown: what the model is, how it was made, and its limits."""
    card = model.card
    columns = "\n".join(
        f"| `{name}` | {mean:.3f} | {scale:.3f} |"
        for name, mean, scale in zip(model.columns, model.mean, model.scale, strict=True)
    )
    return f"""# {card["what"]}

Written on {card["date"]}{", with " + card["libraries"] if "libraries" in card else ""}.

{how_it_is_made("morphling", steps=card["recipe"]["episodes"], seed=card["recipe"]["seed"])}

**Predicts** the value of a configuration as a fraction of the best in its space, and adapts to a service by one
gradient step (α = {model.step_size}) per measured configuration (`searchers/morphling/morphling.py`).

**Data.** {card["data"]}.

**Result.** Mean squared error after adaptation, median of the first 100 episodes {card["loss_first_100"]:.4f}, of
the last 100 {card["loss_last_100"]:.4f}. `python -m benchmarks adaptation` judges it on the models that were held out.

**Limits.** Trained on a formula's numbers, not on measurements. Columns that are not listed below start without
influence.

{recipe_table(card["recipe"])}

| column | mean | scale |
|:---|---:|---:|
{columns}
"""


def train(recipe: MorphlingRecipe, progress: Callable[[int, float], None] | None = None) -> MetaModel:
    """Meta-train from random weights; the recipe determines the result on one machine."""
    tasks, mean, scale = synthetic_tasks(recipe)
    generator = torch.Generator().manual_seed(recipe.seed)
    losses: list[float] = []

    def report(episode: int, loss: float) -> None:
        losses.append(loss)
        if progress is not None:
            progress(episode, loss)

    weights = meta_train_for_search(
        tasks,
        step_size=recipe.step_size,
        meta_step_size=recipe.meta_step_size,
        shots=recipe.shots,
        episodes=recipe.episodes,
        tasks_per_episode=recipe.tasks_per_episode,
        generator=generator,
        progress=report,
    )
    card = {
        "what": "Morphling meta-model (MAML, second order, MLP 128-128) for serving configurations",
        "data": "Synthetic: random model profiles on the emulated devices of cluster.emulated.roofline; no "
                "measurement, none of the profiles in cluster.emulated.profiles",
        "date": datetime.date.today().isoformat(),
        "libraries": libraries(),
        "recipe": asdict(recipe),
        "loss_first_100": float(np.nanmedian(losses[:100])),
        "loss_last_100": float(np.nanmedian(losses[-100:])),
    }  # fmt: skip
    return MetaModel(weights, tasks.columns, mean, scale, recipe.step_size, card)
