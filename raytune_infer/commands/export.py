"""`export`: the recommended configuration in a deployable form."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from raytune_infer.commands.options import Db, RunPath

if TYPE_CHECKING:
    from raytune_infer.spec.service_spec import ServiceSpec
    from serve_deployments.endpoint import Payload


class Target(StrEnum):
    """What a recommendation can be exported to."""

    serve = "serve"


def export(
    run: RunPath,
    to: Annotated[Target, typer.Option(help="Output format.")] = Target.serve,
    db: Db = None,
    trust: Annotated[
        bool,
        typer.Option(
            "--trust",
            help="Also export environment variables that may load code, such as LD_PRELOAD, and samples in files that "
            "are not in the service's folder.",
        ),
    ] = False,
) -> None:
    """Print the recommended configuration in a deployable form."""
    from raytune_infer.store.run_folder import open_run

    folder = open_run(run, db)
    study, trials = folder.read()
    from raytune_infer.errors import AllFailed
    from raytune_infer.report.export.serve_config import payload_type_of, serve_config
    from raytune_infer.report.export.trust import recorded_settings, refuse_loading
    from raytune_infer.report.renderers.console_table import plain
    from raytune_infer.report.words.effects import code_of_config
    from raytune_infer.report.words.verdict import answer_so_far
    from raytune_infer.study.result import best_of, comparison_so_far

    spec = folder.spec_of(study)
    comparison, left = comparison_so_far(folder, trials, spec)
    best = best_of(trials, comparison)
    if best is None:
        raise AllFailed(f"no trial of {run} counts yet; `raytune-infer show {run}` says why")
    assert to is Target.serve, "the only one there is"
    said = answer_so_far(best, comparison, spec.goal, left)
    settings, payload_type = recorded_settings(spec, best.config, best.settings), payload_type_of(folder, spec)
    if not trust:
        refuse_loading(settings)
    for effect in code_of_config(spec, settings):
        typer.echo(f"this config runs code: {plain(effect.what)}", err=True)
    config = serve_config(spec, settings, payload_type, said, samples=_warm_up(spec, trust=trust))
    # A file of Serve's is UTF-8, whatever the encoding of the terminal: characters that it lacks must not be replaced.
    typer.echo(config.encode(), nl=False)


def _warm_up(spec: ServiceSpec, *, trust: bool) -> Sequence[Payload]:
    """The samples for the config; none, which is said, if they may be of files that are not this service's."""
    from raytune_infer.report.export.serve_config import samples_of
    from raytune_infer.report.export.trust import samples_within
    from raytune_infer.report.renderers.console_table import plain

    if trust or samples_within(spec):
        return samples_of(spec)
    typer.echo(
        f"no samples are put in as warm_up: {plain(str(spec.folder))} does not have this run's service.yaml, or not "
        "its samples; if you trust this run, add --trust",
        err=True,
    )
    return ()
