"""`meta-train`: what a searcher knows beforehand, trained anew."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from raytune_infer.commands.options import console_of_output


class Pretrained(StrEnum):
    """Files of weights that ship with the package."""

    surfaces = "surfaces"
    morphling = "morphling"


def meta_train(
    out: Annotated[Path, typer.Option(help="The file of weights; its card goes beside it, with the ending .md.")],
    model: Annotated[Pretrained, typer.Option(help="Whose prior knowledge.")] = Pretrained.surfaces,
    studied: Annotated[
        list[str] | None,
        typer.Option("--from", help="Learn from this too: a run's folder, a history database, a suite of tables."),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Of training; by default as many as what ships.")] = None,
    seed: Annotated[int, typer.Option(help="Of all random choices.")] = 0,
) -> None:
    """Train what a searcher knows beforehand, on synthetic services and on your own finished studies."""
    from rich.progress import Progress

    from raytune_infer.errors import UserError
    from raytune_infer.priors.studied_tasks import measured_tasks

    if model is Pretrained.morphling and studied:
        raise UserError("morphling's meta-model learns from synthetic services alone; leave --from out")
    measured = measured_tasks(studied) if studied else ()
    from raytune_infer.priors.meta_train import Recipe, meta_train_shipped
    from raytune_infer.priors.surface_recipe import recipe_of, train_surfaces

    with Progress(console=console_of_output()) as bar:
        if model is Pretrained.morphling:
            episodes = steps or Recipe.episodes
            task = bar.add_task("meta-training", total=episodes)
            meta_train_shipped(
                out, episodes=episodes, seed=seed, progress=lambda i, _: bar.update(task, completed=i + 1)
            )
        else:
            recipe = recipe_of(steps=steps, seed=seed)
            task = bar.add_task("surfaces", total=recipe.training.steps)
            train_surfaces(out, recipe, measured=measured, progress=lambda i, _: bar.update(task, completed=i + 1))
