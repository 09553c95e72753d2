"""`meta-train`: what a searcher knows beforehand, trained anew."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from raytune_infer.commands.options import LARGEST_SEED, console_of_output


class Pretrained(StrEnum):
    """Files of weights that ship with the package."""

    surfaces = "surfaces"
    morphling = "morphling"


def meta_train(
    out: Annotated[Path, typer.Option(help="File for the weights; a card in Markdown (.md) is written beside it.")],
    model: Annotated[
        Pretrained, typer.Option(help="What to train: surfaces (for meta) or morphling's meta-model.")
    ] = Pretrained.surfaces,
    studied: Annotated[
        list[str] | None,
        typer.Option(
            "--from", help="Also learn from this: a run's folder, a database of runs, or a suite; may be repeated."
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Training steps; by default as for the shipped weights.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Seed of all random choices.")] = 0,
) -> None:
    """Train a searcher's prior, on synthetic services and on your own finished studies."""
    from rich.progress import Progress

    from raytune_infer.errors import UserError
    from raytune_infer.priors.studied_tasks import measured_tasks

    if model is Pretrained.morphling and studied:
        raise UserError("morphling's meta-model learns from synthetic services alone; leave --from out")
    measured = measured_tasks(studied) if studied else ()
    from raytune_infer.priors.morphling_recipe import MorphlingRecipe, train_morphling
    from raytune_infer.priors.surface_recipe import recipe_of, train_surfaces

    with Progress(console=console_of_output()) as bar:
        if model is Pretrained.morphling:
            morphlings = MorphlingRecipe(episodes=steps or MorphlingRecipe.episodes, seed=seed)
            task = bar.add_task("meta-training", total=morphlings.episodes)
            train_morphling(out, morphlings, progress=lambda i, _: bar.update(task, completed=i + 1))
        else:
            recipe = recipe_of(steps=steps, seed=seed)
            task = bar.add_task("surfaces", total=recipe.training.steps)
            train_surfaces(out, recipe, measured=measured, progress=lambda i, _: bar.update(task, completed=i + 1))
