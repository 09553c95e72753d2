"""What several commands take, and the console that they write to."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TextIO

import typer
from rich.console import Console

from raytune_infer.errors import UserError
from raytune_infer.report.renderers.console_view import console_for

SpecPath = Annotated[Path, typer.Argument(metavar="SERVICE_YAML", help="Description of the service and its knobs.")]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")]
Address = Annotated[
    str | None, typer.Option(help="Address of a running Ray cluster; `auto` for the one on this machine.")
]
Prior = Annotated[
    Path | None, typer.Option(help="A prior written by `meta-train --from`, used instead of the shipped one.")
]
Db = Annotated[
    str | None,
    typer.Option(help="URL of the database that the run was started with; none is needed for one in its folder."),
]
LARGEST_SEED = 2**63 - 1
"""As large as databases keep."""
Seed = Annotated[int | None, typer.Option(min=0, max=LARGEST_SEED, help="Seed of all random choices; 0 by default.")]
Emulate = Annotated[str | None, typer.Option(help="Start a local cluster with emulated GPUs, e.g. T4:1,V100:1,M60:1.")]

Out = Annotated[Path | None, typer.Option("-o", "--out", help="File to write; by default it is printed.")]

Format = Annotated[
    str,
    typer.Option(
        "--format", metavar="NAME",
        help="Output format: console, json, html, csv (the main table) or csv:TABLE (another one, or csv:notes).",
    ),
]  # fmt: skip


@contextmanager
def output(out: Path | None) -> Iterator[TextIO]:
    """Provide the file of `--out` to write to, or the standard output; raises UserError if it cannot be written."""
    if out is None:
        yield sys.stdout
        return
    try:
        with out.open("w", encoding="utf-8") as file:
            yield file
    except OSError as error:
        raise UserError(
            f"--out {out}: {error.strerror or error}; name a file in a folder that can be written to"
        ) from None


def console_of_output() -> Console:
    """As wide as the terminal; wide enough for a table where the output goes into a file."""
    return console_for(sys.stdout)
