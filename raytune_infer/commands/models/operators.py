"""`operators`: what a service's model computes, operator by operator."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Annotated

import typer

from raytune_infer.commands.options import Address, Format, Out, SpecPath, output

_SECONDS = 60.0


def operators(
    spec: SpecPath,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Payloads in a batch; by default as in the default configuration.")
    ] = None,
    curves: Annotated[
        bool, typer.Option("--curves", help="Also measure how each operator follows batch, cores and precision.")
    ] = False,
    seconds: Annotated[
        float, typer.Option(min=1, help="Seconds of measuring curves at the most; with --curves.")
    ] = _SECONDS,
    refine: Annotated[
        bool, typer.Option("--refine", help="Measure points of curves again that are known badly; with --curves.")
    ] = False,
    address: Address = None,
    db: Annotated[
        str | None, typer.Option(help="Database URL of the curves; by default the file runs/operators.db.")
    ] = None,
    out: Out = None,
    form: Format = "console",
) -> None:
    """Build a service's model here, and show which operators take its time and memory."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler's own messages; read when torch is loaded
    from raytune_infer.report.renderers import renderer_of
    from raytune_infer.spec.service import Service
    from raytune_infer.spec.service_spec import load_spec

    render = renderer_of(form)
    service = Service(load_spec(spec))
    from raytune_infer.operators.profiling import profile_service
    from raytune_infer.report.words.operators.profile_view import profile_view

    profile = profile_service(service, batch=batch)
    view = profile_view(profile)
    if curves:
        from raytune_infer.report.words.operators.studied_view import studied_view
        from raytune_infer.study.connection.curves_on_cluster import curves_on_cluster

        def said(line: str) -> None:
            typer.echo(line, err=True)

        found = curves_on_cluster(
            service.spec, profile, address=address, db=db, seconds=seconds, refine=refine, said=said
        )
        view = replace(view, sections=studied_view(service.spec, profile, found))
    with output(out) as file:
        render(view, file)
