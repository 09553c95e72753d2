"""`operators`: what a service's model computes, operator by operator."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from raytune_infer.commands.options import Format, Out, SpecPath, output


def operators(
    spec: SpecPath,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Payloads in a batch; by default as in the default configuration.")
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

    view = profile_view(profile_service(service, batch=batch))
    with output(out) as file:
        render(view, file)
