"""`grafana`: a Grafana dashboard of running studies."""

from __future__ import annotations

import json

from raytune_infer.commands.options import Out, output


def grafana(out: Out = None) -> None:
    """Write a Grafana dashboard of running studies, to import there or to put beside Ray's own."""
    from raytune_infer.study.monitoring.grafana import dashboard

    with output(out) as file:
        file.write(json.dumps(dashboard(), indent=2) + "\n")
