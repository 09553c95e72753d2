"""`grafana`: a Grafana dashboard of running studies."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer


def grafana(
    out: Annotated[Path | None, typer.Option(help="File to write; by default it is printed.")] = None,
) -> None:
    """Write a Grafana dashboard of running studies, to import there or to put beside Ray's own."""
    from raytune_infer.errors import UserError
    from raytune_infer.monitoring.grafana import dashboard

    text = json.dumps(dashboard(), indent=2) + "\n"
    if out is None:
        sys.stdout.write(text)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror}); name another file with --out") from None
