"""The command line."""

from __future__ import annotations

import os
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
Prior = Annotated[
    Path | None, typer.Option(help="Start from this file, written by meta-train --from, not from the prior that ships.")
]
Emulate = Annotated[str | None, typer.Option(help="A local cluster with emulated GPUs, e.g. T4:1,V100:1,M60:1.")]


class Target(StrEnum):
    """What a recommendation can be exported to."""

    serve = "serve"


class Pretrained(StrEnum):
    """Files of weights that ship with the package."""

    surfaces = "surfaces"
    morphling = "morphling"


@app.command()
def tune(
    spec: SpecPath,
    trials: Annotated[int | None, typer.Option(min=1, help="How many configurations to try.")] = None,
    parallel: Annotated[int | None, typer.Option(min=1, help="How many at a time.")] = None,
    searcher: Annotated[
        str | None,
        typer.Option(help="Who proposes: meta (the default), random, or another of docs/searchers.md."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of all random choices; 0 by default.")] = None,
    address: Address = None,
    emulate: Emulate = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; by default a new one under runs/.")] = None,
    db: Annotated[str | None, typer.Option(help="Database URL; by default SQLite in the run's folder.")] = None,
    no_history: Annotated[bool, typer.Option("--no-history", help="Learn nothing from your earlier studies.")] = False,
    prior: Prior = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was interrupted.")] = False,
) -> None:
    """Find the best configuration of a service."""
    # Imported late: `--help` and a wrong option must not wait for it. Nothing up to `run` imports torch or Ray.
    from raytune_infer.console import ConsoleProgress
    from raytune_infer.spec import load_spec

    console = _console()
    service = load_spec(spec)
    from raytune_infer.study import Study

    study = Study(
        service, searcher=searcher, seed=seed, address=address, emulate=emulate, db=db, out=out,
        history=False if no_history else None, prior=prior,
    )  # fmt: skip
    progress = ConsoleProgress(console)
    try:
        result = study.run(trials, parallel=parallel, resume=resume, progress=progress)
    except KeyboardInterrupt:
        console.print("stopped; `--resume --out` with the run's folder goes on from here")
        raise typer.Exit(130) from None
    finally:
        progress.close()
    from raytune_infer.comparing.verdict import standings, verdict
    from raytune_infer.export import serve_config
    from raytune_infer.report import recommendation
    from raytune_infer.report_files import write_files
    from serve_deployments.settings import Settings

    console.print()
    console.print(recommendation(result))
    console.print(standings(result.comparison, result.objective))
    for sentence in verdict(result.comparison, result.objective):
        console.print(f"[bold]{escape(sentence)}[/]", highlight=False)
    console.print(f"  {'prices:':<16}{result.prices}", highlight=False)
    config = serve_config(service, Settings(**result.best.outcome.settings))
    for what, path in write_files(result, config).items():
        console.print(f"  {what + ':':<16}{path}", highlight=False)


@app.command()
def show(run: RunPath) -> None:
    """The trials of a run, its best, and why each failed one failed."""
    from raytune_infer.run_folder import open_run

    console = _console()
    database, study = open_run(run).load()
    trials = database.trials(study)
    database.close()
    from raytune_infer.comparing.comparison import compared
    from raytune_infer.comparing.verdict import standings, verdict
    from raytune_infer.document import Document
    from raytune_infer.report import footnotes, trials_table
    from raytune_infer.result import best_of, position_of
    from raytune_infer.spec import parse_spec

    spec = parse_spec(Document(study.spec, f"service.yaml of {run}"), folder=Path(study.folder))
    best = best_of(trials, spec.goal)
    searched = sum(t.purpose == "search" for t in trials)
    console.print(
        f"[bold]{escape(study.name)}[/]  {searched} of {study.trials} trials, searcher {study.searcher}, "
        f"seed {study.seed}, begun {study.created_at:%Y-%m-%d %H:%M} UTC"
    )
    console.print(trials_table(trials, None if best is None else best.number))
    for note in footnotes(trials):
        console.print(f"  {escape(note)}", highlight=False)
    comparison = compared(trials, spec.goal, position_of(spec.default_config, trials))
    if comparison.rounds:
        console.print(standings(comparison, spec.goal))
    for sentence in verdict(comparison, spec.goal):
        console.print(escape(sentence), highlight=False)


@app.command()
def recommend(
    run: RunPath,
    limit: Annotated[
        list[str] | None,
        typer.Option(metavar="METRIC=NUMBER", help="The most that counts, e.g. p99_ms=50; `=none` takes one away."),
    ] = None,
    at_least: Annotated[
        list[str] | None, typer.Option(metavar="METRIC=NUMBER", help="The least that counts, e.g. rps=200.")
    ] = None,
    maximize: Annotated[str | None, typer.Option(help="Another goal, e.g. 'rps / usd_per_hour'.")] = None,
    minimize: Annotated[str | None, typer.Option(help="Another goal, of which less is better.")] = None,
    prices: Annotated[str | None, typer.Option(help="A price book: a built-in name or a YAML file.")] = None,
    curve: Annotated[Path | None, typer.Option(help="Draw latency over rate of the best few: a .svg or .png.")] = None,
) -> None:
    """Rank a run's trials again under other limits, prices or goals, without a new trial."""
    from raytune_infer.recommending.curve_drawing import draw_curves, drawable
    from raytune_infer.recommending.other_objective import bounds
    from raytune_infer.recommending.recommendation import recommend as ranked_again
    from raytune_infer.recommending.recommendation_report import asked, notes, ranking_table, trials_needed

    if curve is not None:
        drawable(curve)
    found = ranked_again(
        run, limits=bounds(limit or [], "--limit"), at_least=bounds(at_least or [], "--at-least"),
        maximize=maximize, minimize=minimize, prices=prices,
    )  # fmt: skip
    console = _console()
    console.print(asked(found), highlight=False)
    console.print(ranking_table(found))
    for note in notes(found):
        console.print(f"  {escape(note)}", highlight=False)
    for line in trials_needed(found):
        console.print(escape(line), highlight=False)
    if curve is not None:
        draw_curves(found, curve)
        console.print(f"  the curves: {curve}", highlight=False)


@app.command()
def export(
    run: RunPath,
    to: Annotated[Target, typer.Option(help="The form of the output.")] = Target.serve,
) -> None:
    """Print the recommended configuration in a deployable form."""
    from raytune_infer.run_folder import open_run

    database, study = open_run(run).load()
    trials = database.trials(study)
    database.close()
    from raytune_infer.document import Document
    from raytune_infer.errors import AllFailed
    from raytune_infer.export import serve_config
    from raytune_infer.result import best_of
    from raytune_infer.spec import parse_spec
    from serve_deployments.settings import Settings

    spec = parse_spec(Document(study.spec, f"service.yaml of {run}"), folder=Path(study.folder))
    best = best_of(trials, spec.goal)
    if best is None:
        raise AllFailed(f"no trial of {run} counts yet; `raytune-infer show {run}` says why")
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
    from raytune_infer.inventory_report import inventory_table
    from raytune_infer.session import ray_session

    book = load_prices(prices or DEFAULT_BOOK)
    with ray_session(address=address, emulate=emulate, folder=Path.cwd()):
        table = inventory_table(inventory.from_ray(), book)
    console = _console()
    console.print(table)
    console.print(f"{book.cpu_core_usd_per_hour:.4g} USD/hour per core, {book.base_usd_per_hour:.4g} per replica")


@app.command()
def replay(
    folder: Annotated[Path, typer.Argument(metavar="SUITE_DIR", help="A folder of tables with its suite.json.")],
    searcher: Annotated[list[str] | None, typer.Option(help="Whom to judge; may be given several times.")] = None,
    objective: Annotated[
        list[str] | None, typer.Option(help="By name in the suite; may be given several times; by default all.")
    ] = None,
    budget: Annotated[int, typer.Option(min=1, help="Trials of a search.")] = 40,
    seeds: Annotated[int, typer.Option(min=1, help="Searches per task, objective and searcher.")] = 3,
    no_sources: Annotated[bool, typer.Option("--no-sources", help="Nothing may be learned from other tasks.")] = False,
    prior: Prior = None,
    parallel: Annotated[int, typer.Option(min=1, help="Trials that run at a time.")] = 1,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; by default one a core.")] = None,
    out: Annotated[Path, typer.Option(help="The file of results, a row a trial.")] = Path("results.csv"),
) -> None:
    """Judge searchers on measured tables: no cluster, no waiting."""
    from rich.progress import Progress

    from raytune_infer.learning.prior import read_prior
    from raytune_infer.replaying.replay_report import summary
    from raytune_infer.replaying.replays import Plan, check_out, run, write
    from raytune_infer.replaying.suites import load_suite
    from searchers.named import DEFAULT

    console = _console()
    check_out(out)
    searchers, objectives = tuple(searcher or [DEFAULT]), tuple(objective or ())
    plan = Plan(folder, searchers, objectives, budget, seeds, parallel, not no_sources, prior)
    try:
        suite = load_suite(folder)
        plan.checked(suite)
        if prior is not None:
            console.print(escape(read_prior(prior).note()), highlight=False)
        with Progress(console=console) as bar:
            task = bar.add_task("searches", total=None)
            jobs = jobs or os.cpu_count() or 1
            results = run(plan, suite, jobs=jobs, watch=lambda done, of: bar.update(task, completed=done, total=of))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None  # Still reading: nothing was done.
    write(results, out)
    console.print(summary(results))
    for note in results.notes():
        console.print(escape(note), highlight=False)
    console.print(f"{len(results.searches)} searches, each trial in {out}", highlight=False)
    if results.stopped is not None:
        raise typer.Exit(130 if isinstance(results.stopped, KeyboardInterrupt) else 1)


@app.command()
def meta_train(
    out: Annotated[Path, typer.Option(help="The file of weights; its card goes beside it, with the ending .md.")],
    model: Annotated[Pretrained, typer.Option(help="Whose prior knowledge.")] = Pretrained.surfaces,
    studied: Annotated[
        list[str] | None,
        typer.Option("--from", help="Learn from this too: a run's folder, a history database, a suite of tables."),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Of training; by default as many as what ships.")] = None,
    seed: Annotated[int, typer.Option(help="Of all random choices.")] = 0,
) -> None:
    """Train what a searcher knows beforehand, on synthetic services and on your own finished studies."""
    from rich.progress import Progress

    from raytune_infer.errors import UserError
    from raytune_infer.learning.studied_tasks import measured_tasks

    if model is Pretrained.morphling and studied:
        raise UserError("morphling's meta-model learns from synthetic services alone; leave --from out")
    measured = measured_tasks(studied) if studied else ()
    from raytune_infer.learning.meta_train import Recipe, meta_train_shipped
    from raytune_infer.learning.surface_recipe import recipe_of, train_surfaces

    with Progress(console=_console()) as bar:
        if model is Pretrained.morphling:
            episodes = steps or Recipe.episodes
            task = bar.add_task("meta-training", total=episodes)
            meta_train_shipped(
                out, episodes=episodes, seed=seed, progress=lambda i, _: bar.update(task, completed=i + 1)
            )
        else:
            recipe = recipe_of(steps=steps, seed=seed)
            task = bar.add_task("surfaces", total=recipe.training.steps)
            train_surfaces(out, recipe, measured=measured, progress=lambda i, _: bar.update(task, completed=i + 1))


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
