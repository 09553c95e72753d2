"""`check`: what a service.yaml would run, read, reach and write."""

from __future__ import annotations

import sys

from raytune_infer.commands.options import Format, SpecPath


def check(spec: SpecPath, form: Format = "console") -> None:
    """Say what a service.yaml would run, read, reach and write; run nothing of it."""
    from raytune_infer.report.renderers import renderer_of
    from raytune_infer.report.words.effects import effects_view
    from raytune_infer.spec.service import Service
    from raytune_infer.spec.service_spec import load_spec

    render = renderer_of(form)
    service = Service(load_spec(spec), runs_code=False)
    render(effects_view(service.spec), sys.stdout)
