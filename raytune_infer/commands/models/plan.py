"""`plan`: how one service's model becomes another one, step by step, with its price."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from raytune_infer.commands.options import Format

if TYPE_CHECKING:
    from serve_deployments.transform.registered.registered_model import Recipe

_MODEL = "A service.yaml, or module:callable that returns a torch module or a function of payloads."


def plan(
    source: Annotated[str, typer.Argument(metavar="A", help=_MODEL)],
    target: Annotated[str, typer.Argument(metavar="B", help=_MODEL)],
    store: Annotated[
        Path | None,
        typer.Option(help="Folder to register both models in, with their weights and what conversions cost here."),
    ] = None,
    way: Annotated[
        str | None,
        typer.Option(help="Show the steps of this way, and not of the cheapest; `operators` is the paper's."),
    ] = None,
    kept: Annotated[bool, typer.Option("--kept", help="As if the process had held B before.")] = False,
    compiled_s: Annotated[
        float, typer.Option(min=0, help="Seconds to compile again where A's structure is given up.")
    ] = 0.0,
    recorded_s: Annotated[
        float, typer.Option(min=0, help="Seconds to record CUDA graphs again where addresses change.")
    ] = 0.0,
    form: Format = "console",
) -> None:
    """Build two models here, and show how a replica of A would become one of B, step by step, with prices."""
    import tempfile

    from raytune_infer.errors import UserError
    from raytune_infer.report.renderers import renderer_of
    from raytune_infer.report.words.conversion_plan import asked_way, plan_view

    render, asked = renderer_of(form), asked_way(way)
    recipes = _recipe("A", source), _recipe("B", target)
    from serve_deployments.models.context import ModelError
    from serve_deployments.transform.live.registering import described, register
    from serve_deployments.transform.planning.plan_cache import PlanCache
    from serve_deployments.transform.planning.ways import Anew
    from serve_deployments.transform.profiling.profile import costs_here
    from serve_deployments.transform.registered.model_store import ModelStore

    try:
        with tempfile.TemporaryDirectory() as aside:
            where = ModelStore(Path(aside) if store is None else store)
            ours, theirs = (described(each) if store is None else register(where, each) for each in recipes)
            cache = PlanCache(costs_here(where), anew=Anew(compiled_s, recorded_s))
        cache.register(ours)
        cache.register(theirs)
        view = plan_view(cache, ours.name, theirs.name, asked, kept=kept)
    except (ModelError, OSError) as error:
        raise UserError(str(error)) from None
    render(view, sys.stdout)


def _recipe(which: str, given: str) -> Recipe:
    """The recipe of a model that was named on the command line.

    Args:
        which: "A" or "B"; part of the model's name, as both may have one name.
        given: a path of a service.yaml, or `module:callable`.
    """
    from raytune_infer.errors import UserError
    from raytune_infer.spec.service import Service
    from raytune_infer.spec.service_spec import load_spec
    from serve_deployments.models.context import ModelContext, ModelError
    from serve_deployments.models.model import Builder, check
    from serve_deployments.transform.live.recipes import recipe_of

    is_file = Path(given).suffix in (".yaml", ".yml") or Path(given).exists()
    try:
        if is_file:
            service = Service(load_spec(Path(given)))
            config = service.spec.default_config
            context = ModelContext(precision=str(config.get("precision", "float32")))
            return recipe_of(f"{which}-{service.spec.name}", service.source, service.spec.arguments(config), context)
        source = Builder(given, str(Path.cwd()))
        check(source, {})
        return recipe_of(f"{which}-{given.rpartition(':')[2]}", source, {}, ModelContext())
    except ModelError as error:
        raise UserError(f"{which}: {error}") from None
