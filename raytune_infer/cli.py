"""The command line."""

from __future__ import annotations

import sys
import warnings
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

_FILE_WIDTH = 132

app = typer.Typer(
    help="Finds the best serving configuration of a model on Ray in a handful of real trials.",
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
)  # fmt: skip

SpecPath = Annotated[Path, typer.Argument(metavar="SERVICE_YAML", help="What to serve and what may be chosen.")]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")]
Address = Annotated[str | None, typer.Option(help="A running Ray cluster; `auto` for the one on this machine.")]
Emulate = Annotated[str | None, typer.Option(help="A local cluster with emulated GPUs, e.g. T4:1,V100:1,M60:1.")]


class Target(StrEnum):
    """What a recommendation can be exported to."""

    serve = "serve"


@app.command()
def tune(
    spec: SpecPath,
    trials: Annotated[int | None, typer.Option(min=1, help="How many configurations to try.")] = None,
    parallel: Annotated[int | None, typer.Option(min=1, help="How many at a time.")] = None,
    searcher: Annotated[
        str | None, typer.Option(help="Who proposes: morphling (the default), random, or another of docs/searchers.md.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of all random choices; 0 by default.")] = None,
    address: Address = None,
    emulate: Emulate = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; by default a new one under runs/.")] = None,
    db: Annotated[str | None, typer.Option(help="Database URL; by default SQLite in the run's folder.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was interrupted.")] = False,
) -> None:
    """Find the best configuration of a service."""
    # Imported late: `--help` and a wrong option must not wait for torch and Ray.
    from raytune_infer.export import serve_config
    from raytune_infer.report import ConsoleProgress, recommendation, write_files
    from raytune_infer.spec import load_spec
    from raytune_infer.study import Study
    from serve_deployments.settings import Settings

    console = _console()
    service = load_spec(spec)
    study = Study(service, searcher=searcher, seed=seed, address=address, emulate=emulate, db=db, out=out)
    progress = ConsoleProgress(console)
    try:
        result = study.run(trials, parallel=parallel, resume=resume, progress=progress)
    except KeyboardInterrupt:
        console.print("stopped; `--resume --out` with the run's folder goes on from here")
        raise typer.Exit(130) from None
    finally:
        progress.close()
    console.print()
    console.print(recommendation(result))
    if result.ratio is not None and result.default is not result.best:
        goal = f"{result.objective.goal.text} is {result.ratio:.2f}× the default's"
        console.print(f"[bold]{goal}[/]  (prices: {result.prices})")
    config = serve_config(service, Settings(**result.best.outcome.settings))
    for what, path in write_files(result, config).items():
        console.print(f"  {what + ':':<16}{path}", highlight=False)


@app.command()
def show(run: RunPath) -> None:
    """The trials of a run, its best, and why each failed one failed."""
    from raytune_infer.report import footnotes, trials_table
    from raytune_infer.result import best_of
    from raytune_infer.run_folder import open_run

    console = _console()
    database, study = open_run(run).load()
    trials = database.trials(study)
    database.close()
    best = best_of(trials)
    searched = sum(t.purpose == "search" for t in trials)
    console.print(
        f"[bold]{escape(study.name)}[/]  {searched} of {study.trials} trials, searcher {study.searcher}, "
        f"seed {study.seed}, begun {study.created_at:%Y-%m-%d %H:%M} UTC"
    )
    console.print(trials_table(trials, None if best is None else best.number))
    for note in footnotes(trials):
        console.print(f"  {escape(note)}", highlight=False)


@app.command()
def export(
    run: RunPath,
    to: Annotated[Target, typer.Option(help="The form of the output.")] = Target.serve,
) -> None:
    """Print the recommended configuration in a deployable form."""
    from raytune_infer.document import Document
    from raytune_infer.errors import AllFailed
    from raytune_infer.export import serve_config
    from raytune_infer.result import best_of
    from raytune_infer.run_folder import open_run
    from raytune_infer.spec import parse_spec
    from serve_deployments.settings import Settings

    database, study = open_run(run).load()
    best = best_of(database.trials(study))
    database.close()
    if best is None:
        raise AllFailed(f"no trial of {run} counts yet; `raytune-infer show {run}` says why")
    spec = parse_spec(Document(study.spec, f"service.yaml of {run}"), folder=Path(study.folder))
    assert to is Target.serve, "the only one there is"
    typer.echo(serve_config(spec, Settings(**best.outcome.settings)), nl=False)


@app.command()
def cluster(
    address: Address = None,
    emulate: Emulate = None,
    prices: Annotated[str | None, typer.Option(help="A price book: a built-in name or a YAML file.")] = None,
) -> None:
    """Nodes, GPU types, cores, memory and prices; what is emulated."""
    from cluster import inventory
    from cluster.prices import DEFAULT_BOOK, load_prices
    from raytune_infer.report import inventory_table
    from raytune_infer.session import ray_session

    book = load_prices(prices or DEFAULT_BOOK)
    with ray_session(address=address, emulate=emulate, folder=Path.cwd()):
        table = inventory_table(inventory.from_ray(), book)
    console = _console()
    console.print(table)
    console.print(f"{book.cpu_core_usd_per_hour:.4g} USD/hour per core, {book.base_usd_per_hour:.4g} per replica")


@app.command()
def meta_train(
    out: Annotated[Path, typer.Option(help="The file of weights; its card goes beside it, with the ending .md.")],
    episodes: Annotated[int, typer.Option(min=1, help="Steps of meta-training.")] = 4000,
    seed: Annotated[int, typer.Option(help="Of all random choices.")] = 0,
) -> None:
    """Train a meta-model for morphling on synthetic services, as the one that ships was."""
    from rich.progress import Progress

    from raytune_infer.meta_train import meta_train_shipped

    with Progress(console=_console()) as bar:
        task = bar.add_task("meta-training", total=episodes)
        meta_train_shipped(
            out, episodes=episodes, seed=seed, progress=lambda episode, loss: bar.update(task, completed=episode + 1)
        )


def _console() -> Console:
    """As wide as the terminal; wide enough for a table where the output goes into a file."""
    return Console(soft_wrap=True) if sys.stdout.isatty() else Console(soft_wrap=True, width=_FILE_WIDTH)


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
