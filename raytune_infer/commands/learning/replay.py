"""`replay`: searchers judged on measured tables."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from raytune_infer.commands.options import Format, Prior, console_of_output


def replay(
    folder: Annotated[Path, typer.Argument(metavar="SUITE_DIR", help="Folder of measured tables, with a suite.json.")],
    searcher: Annotated[
        list[str] | None, typer.Option(help="Searcher to evaluate; may be repeated; meta by default.")
    ] = None,
    objective: Annotated[
        list[str] | None, typer.Option(help="Name of an objective of the suite; may be repeated; by default all.")
    ] = None,
    budget: Annotated[int, typer.Option(min=1, help="Largest number of trials of a search.")] = 40,
    seeds: Annotated[int, typer.Option(min=1, help="Number of searches per task, objective and searcher.")] = 3,
    no_sources: Annotated[
        bool, typer.Option("--no-sources", help="Do not learn from the suite's other tasks.")
    ] = False,
    prior: Prior = None,
    parallel: Annotated[int, typer.Option(min=1, help="Number of trials at a time.")] = 1,
    jobs: Annotated[int | None, typer.Option(min=1, help="Number of processes; by default one per core.")] = None,
    out: Annotated[Path, typer.Option(help="Results file (CSV), one row per trial.")] = Path("results.csv"),
    form: Format = "console",
) -> None:
    """Evaluate searchers on measured tables, without a cluster."""
    from rich.progress import Progress

    from raytune_infer.report.renderers import renderer_of
    from raytune_infer.report.replay_report import replay_view
    from raytune_infer.store.prior import read_prior
    from raytune_infer.suites.replays import Plan, check_out, run, write
    from raytune_infer.suites.suites import load_suite
    from searchers.registry import DEFAULT

    render = renderer_of(form)
    # What a program reads has nothing else on its way.
    console = console_of_output() if form == "console" else Console(stderr=True, soft_wrap=True)
    check_out(out)
    searchers, objectives = tuple(searcher or [DEFAULT]), tuple(objective or ())
    plan = Plan(folder, searchers, objectives, budget, seeds, parallel, "none" if no_sources else "tables", prior)
    try:
        suite = load_suite(folder)
        plan.checked(suite)
        if prior is not None:
            console.print(Text(read_prior(prior).note()), highlight=False)
        with Progress(console=console) as bar:
            task = bar.add_task("searches", total=None)
            jobs = jobs or os.cpu_count() or 1
            results = run(plan, suite, jobs=jobs, watch=lambda done, of: bar.update(task, completed=done, total=of))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None  # Still reading: nothing was done.
    write(results, out)
    render(replay_view(results, out), sys.stdout)
    if results.stopped is not None:
        raise typer.Exit(130 if isinstance(results.stopped, KeyboardInterrupt) else 1)
