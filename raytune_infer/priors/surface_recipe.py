"""Training of the shipped surfaces and of custom ones, on emulated services and, if given, on measured ones."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from cluster.gpu_names.gpu_names import find
from raytune_infer.priors.emulated_services import random_service
from raytune_infer.priors.surface_judge import judge
from raytune_infer.priors.weights_card import how_it_is_made, libraries, recipe_table
from searchers.base import Task
from searchers.surfaces.belief import SurfaceModel
from searchers.surfaces.training import Training, train

GPUS = (
    "K80", "M60", "P4", "P100", "V100", "V100-32G", "T4", "A10", "A10G", "A30", "A100-40G", "A100-80G", "L4", "L40S",
    "H100-PCIe", "H100-SXM", "H200", "B200", "RTX-A6000", "RTX-PRO-6000", "MI250", "MI300X",
)  # fmt: skip
"""GPUs of the services that the shipped surfaces are trained on: the catalogue of that day, at revision ed2af19. A GPU
that is added must not change what the recipe draws, so it belongs here only once the surfaces are trained anew."""


@dataclass(frozen=True)
class SurfaceRecipe:
    """Parameters of the training of surfaces.

    Args:
        services: number of emulated services.
        gpus: names of the GPUs that these may have; their order counts, too.
        measured_weight: how many times as often a measured task is drawn as an emulated one. Otherwise ten measured
            tasks would have no effect among thousands of emulated ones; with twenty, our choice, ten measured tasks
            weigh as much as two hundred emulated ones.
        held_out: number of emulated services to evaluate the result on.
        training: parameters of the network's training.
        seed: seed of everything random.
    """

    services: int = 10_000
    gpus: tuple[str, ...] = GPUS
    measured_weight: float = 20.0
    held_out: int = 300
    training: Training = field(default_factory=Training)
    seed: int = 0


def recipe_of(*, steps: int | None = None, seed: int = 0) -> SurfaceRecipe:
    """Return the recipe of the shipped surfaces, with another number of steps or another seed if given."""
    training = Training() if steps is None else replace(Training(), steps=steps)
    return SurfaceRecipe(training=training, seed=seed)


def train_surfaces(
    out: Path,
    recipe: SurfaceRecipe,
    *,
    measured: Sequence[Task] = (),
    progress: Callable[[int, float], None] | None = None,
) -> SurfaceModel:
    """Train surfaces and write them to `out`, with a card for people beside them (`.md`).

    Args:
        out: the safetensors file; its folder is created.
        recipe: parameters of the training.
        measured: measured tasks, added to the emulated ones.
        progress: called with the step and its loss.
    """
    threads = torch.get_num_threads()
    # Matrices of 128 columns are too small for several threads; one thread also makes runs repeatable.
    torch.set_num_threads(1)
    try:
        model = _train(recipe, measured, progress)
    finally:
        torch.set_num_threads(threads)
    model.save(out)
    out.with_suffix(".md").write_text(card_text(model), encoding="utf-8")
    return model


def emulated_services(recipe: SurfaceRecipe) -> tuple[list[Task], list[Task]]:
    """Draw the services to learn from, and those to judge the result on."""
    rng, unseen = (np.random.default_rng(s) for s in np.random.SeedSequence(recipe.seed).spawn(2))
    gpus, points = [find(name) for name in recipe.gpus], recipe.training.points
    return (
        [random_service(rng, points, gpus) for _ in range(recipe.services)],
        [random_service(unseen, points, gpus) for _ in range(recipe.held_out)],
    )


def _train(
    recipe: SurfaceRecipe, measured: Sequence[Task], progress: Callable[[int, float], None] | None
) -> SurfaceModel:
    emulated, held_out = emulated_services(recipe)
    weights = np.concatenate([np.ones(len(emulated)), np.full(len(measured), recipe.measured_weight)])
    model = train([*emulated, *measured], recipe.training, recipe.seed, weights=weights, progress=progress)
    card = {
        "what": "Surfaces of serving performance: a latent-variable model over configurations and services",
        "data": f"{len(emulated)} services that exist only as formulas (roofline and generation in cluster.emulated)"
                + (f", and {len(measured)} measured tasks" if measured else "; no measurement"),
        "date": datetime.date.today().isoformat(),
        "libraries": libraries(),
        "measured": len(measured),
        "recipe": asdict(recipe),
        "held_out": judge(model, held_out, (0, 5, 10), recipe.seed),
    }  # fmt: skip
    return SurfaceModel(model.weights, model.inputs, model.families, card)


def card_text(model: SurfaceModel) -> str:
    """Return the model card as markdown: what the model is, how it was made, and its limits."""
    card = model.card
    recipe = {k: v for k, v in card["recipe"].items() if k != "training"} | card["recipe"]["training"]
    scores = "\n".join(
        f"| {name} | " + " | ".join(", ".join(f"{v:.3f}" for v in cell[n].values()) for n in ("0", "5", "10")) + " |"
        for name, cell in card["held_out"].items()
    )
    made = how_it_is_made("surfaces", steps=recipe["steps"], seed=recipe["seed"], measured=card.get("measured", 0))
    inputs = model.inputs
    columns = "\n".join(
        f"| `{name}` | {mean:.3f} | {scale:.3f} |"
        for names, means, scales in (
            (inputs.columns, inputs.mean, inputs.scale),
            ([f"ln {fact}" for fact in inputs.facts], inputs.fact_mean, inputs.fact_scale),
        )
        for name, mean, scale in zip(names, means, scales, strict=True)
    )
    return f"""# {card["what"]}

Written on {card["date"]}{", with " + card["libraries"] if "libraries" in card else ""}.

{made}

**Predicts**, before the first trial, how rate, latency, time to the first token and time per further token move
over a space's configurations, and which of these can run: samples of what a service like this could look like
(`searchers/surfaces/belief.py`). Not their level, which is each service's own.

**Data.** {card["data"]}.

**Result** on {card["recipe"]["held_out"]} held-out emulated services: Spearman correlation with the truth where it
runs and RMSE of the centred natural logarithm, medians over services. The surface is the mean of 64 drawn from the
facts alone, or that of the likeliest z given 5 and 10 random trials. "Can run": area under the ROC curve, over
services where some configurations can and some cannot.

| family, role | facts alone | 5 trials | 10 trials |
|:---|---:|---:|---:|
{scores}

**Limits.** Formulas leave out what nobody wrote into them: kernels that fall off a cliff, software that does not
support a card. Knobs without a column of known meaning (an engine's name) are ignored.

{recipe_table(recipe)}

| input | mean | scale |
|:---|---:|---:|
{columns}
"""
