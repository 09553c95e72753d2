"""What several commands take, and the console that they write to."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

_FILE_WIDTH = 132

SpecPath = Annotated[Path, typer.Argument(metavar="SERVICE_YAML", help="What to serve and what may be chosen.")]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")]
Address = Annotated[str | None, typer.Option(help="A running Ray cluster; `auto` for the one on this machine.")]
Prior = Annotated[
    Path | None, typer.Option(help="Start from this file, written by meta-train --from, not from the prior that ships.")
]
Emulate = Annotated[str | None, typer.Option(help="A local cluster with emulated GPUs, e.g. T4:1,V100:1,M60:1.")]


def console_of_output() -> Console:
    """As wide as the terminal; wide enough for a table where the output goes into a file."""
    return Console(soft_wrap=True) if sys.stdout.isatty() else Console(soft_wrap=True, width=_FILE_WIDTH)
