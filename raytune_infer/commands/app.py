"""The command line: all commands, and how what the user can mend is told."""

from __future__ import annotations

import sys
import warnings
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from raytune_infer.commands.bench import bench
from raytune_infer.commands.check import check
from raytune_infer.commands.cluster import cluster
from raytune_infer.commands.export import export
from raytune_infer.commands.grafana import grafana
from raytune_infer.commands.learning.meta_train import meta_train
from raytune_infer.commands.learning.replay import replay
from raytune_infer.commands.models.operators import operators
from raytune_infer.commands.models.plan import plan
from raytune_infer.commands.models.serve import serve
from raytune_infer.commands.recommend import recommend
from raytune_infer.commands.report import report
from raytune_infer.commands.show import show
from raytune_infer.commands.streams import make_ready
from raytune_infer.commands.tune import tune

_DEBUG = "--debug"

app = typer.Typer(
    help="Finds the best serving configuration of a model on Ray in a handful of real trials.",
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
)  # fmt: skip
for command in (
    tune, check, show, recommend, report, export, cluster, operators, plan, serve, grafana, replay, meta_train, bench,
):  # fmt: skip
    app.command()(command)


def _tell_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"raytune-infer {version('raytune-infer')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show where an error comes from; also after a command.")
    ] = False,
) -> None:
    """`main` has taken the option out; it is here for `--help`."""


def main() -> None:
    """Run the command line; an error is told in a sentence, with its traceback only after `--debug`."""
    words = [word for word in sys.argv[1:] if word != _DEBUG]
    # Libraries' deprecations are ours to follow, not the user's.
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)
    for stream in (sys.stdout, sys.stderr):
        make_ready(stream)
    try:
        code = app(words, standalone_mode=False)  # else Typer tells wrong words in a box of its own
    except typer.Abort:  # the end of what it reads
        sys.exit(1)
    except Exception as error:
        if hasattr(error, "format_message"):  # Typer's errors, whose class is not the same in all of its versions
            _tell_usage(error)
            sys.exit(getattr(error, "exit_code", 2))
        _tell(error)
        if _DEBUG in sys.argv[1:]:
            raise
        sys.exit(1)
    sys.exit(code)


def _tell_usage(error: Any) -> None:
    """Tell what is wrong with the words of a command; where there are none, show its help."""
    said = error.format_message().strip().removesuffix(".")
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(said, err=True, nl=bool(said))  # empty where rich has shown it already
        return
    context = getattr(error, "ctx", None)
    _print(said if context is None else f"{said}; `{context.command_path} --help` says what it takes")


def _tell(error: Exception) -> None:
    from cluster.prices import PriceBookError
    from raytune_infer.errors import UserError

    said = str(error)
    if not isinstance(error, UserError | PriceBookError):
        said = f"{type(error).__name__}: {said}\nthis was not foreseen; to see where it comes from, add {_DEBUG}"
    _print(said)


def _print(said: str) -> None:
    from raytune_infer.report.renderers.console_table import plain

    # As text, not as markup: it may hold what a user typed, or what a file or a model says.
    words = Text.assemble(("error", "red"), " " + plain(said))
    Console(stderr=True, soft_wrap=True).print(words, highlight=False)
