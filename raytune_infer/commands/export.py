"""`export`: the recommended configuration in a deployable form."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from raytune_infer.commands.options import RunPath


class Target(StrEnum):
    """What a recommendation can be exported to."""

    serve = "serve"


def export(
    run: RunPath,
    to: Annotated[Target, typer.Option(help="The form of the output.")] = Target.serve,
) -> None:
    """Print the recommended configuration in a deployable form."""
    from raytune_infer.store.run_folder import open_run

    database, study = open_run(run).load()
    trials = database.trials(study)
    database.close()
    from raytune_infer.errors import AllFailed
    from raytune_infer.report.export import serve_config
    from raytune_infer.spec.document import Document
    from raytune_infer.spec.service_spec import parse_spec
    from raytune_infer.study.result import best_of
    from serve_deployments.settings import Settings

    spec = parse_spec(Document(study.spec, f"service.yaml of {run}"), folder=Path(study.folder))
    best = best_of(trials, spec.goal)
    if best is None:
        raise AllFailed(f"no trial of {run} counts yet; `raytune-infer show {run}` says why")
    assert to is Target.serve, "the only one there is"
    typer.echo(serve_config(spec, Settings(**best.outcome.settings)), nl=False)
