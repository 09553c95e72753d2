"""The command line: all commands, and how what the user can mend is told."""

from __future__ import annotations

import sys
import warnings

import typer
from rich.console import Console
from rich.markup import escape

from raytune_infer.commands.cluster import cluster
from raytune_infer.commands.export import export
from raytune_infer.commands.meta_train import meta_train
from raytune_infer.commands.recommend import recommend
from raytune_infer.commands.replay import replay
from raytune_infer.commands.show import show
from raytune_infer.commands.tune import tune

app = typer.Typer(
    help="Finds the best serving configuration of a model on Ray in a handful of real trials.",
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
)  # fmt: skip
for command in (tune, show, recommend, export, cluster, replay, meta_train):
    app.command()(command)


def main() -> None:
    """Run the command line; what the user can mend is told in a sentence, without a traceback."""
    # Libraries' deprecations are ours to follow, not the user's.
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)
    from cluster.prices import PriceBookError
    from raytune_infer.errors import UserError

    try:
        app()
    except (UserError, PriceBookError) as error:
        Console(stderr=True, soft_wrap=True).print(f"[red]error[/] {escape(str(error))}", highlight=False)
        sys.exit(1)
