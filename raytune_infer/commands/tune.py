"""`tune`: find the best configuration of a service."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from raytune_infer.commands.options import Address, Emulate, Prior, Seed, SpecPath, console_of_output

if TYPE_CHECKING:
    from raytune_infer.spec.service_spec import ServiceSpec
    from raytune_infer.store.run_folder import RunFolder
    from raytune_infer.study.result import NothingToRecommend, StudyResult


def tune(
    spec: SpecPath,
    trials: Annotated[int | None, typer.Option(min=1, help="Number of trials; by default as in SERVICE_YAML.")] = None,
    parallel: Annotated[
        int | None, typer.Option(min=1, help="Number of trials at a time; by default as in SERVICE_YAML.")
    ] = None,
    searcher: Annotated[
        str | None,
        typer.Option(help="The searcher: meta (the default), random, or another one of docs/searchers.md."),
    ] = None,
    seed: Seed = None,
    address: Address = None,
    emulate: Emulate = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; by default a new one under runs/.")] = None,
    db: Annotated[str | None, typer.Option(help="Database URL; by default an SQLite file in the run's folder.")] = None,
    no_history: Annotated[bool, typer.Option("--no-history", help="Do not learn from your earlier studies.")] = False,
    prior: Prior = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume an interrupted run.")] = False,
) -> None:
    """Find the best configuration of a service."""
    # Imported late: `--help` and a wrong option must not wait for it. Nothing up to `run` imports torch or Ray.
    from raytune_infer.report.console import ConsoleProgress
    from raytune_infer.spec.service_spec import load_spec

    console = console_of_output()
    service = load_spec(spec)
    from raytune_infer.study.result import NothingToRecommend
    from raytune_infer.study.study import Study

    study = Study(
        service, searcher=searcher, seed=seed, address=address, emulate=emulate, db=db, out=out,
        history=False if no_history else None, prior=prior,
    )  # fmt: skip
    progress = ConsoleProgress(console)
    try:
        result = study.run(trials, parallel=parallel, resume=resume, progress=progress)
    except NothingToRecommend as failed:
        _tell_trials(console, failed)
        raise
    except KeyboardInterrupt:
        console.print("stopped; to continue, run the command again with `--resume --out` and the run's folder")
        raise typer.Exit(130) from None
    finally:
        progress.close()
    _tell_result(console, service, result)


def _tell_result(console: Console, service: ServiceSpec, result: StudyResult) -> None:
    """Write the files of a study that has ended, and print what came of it: files first, as printing may fail."""
    from raytune_infer.report.export.report_files import write_files
    from raytune_infer.report.export.serve_config import payload_type_of, samples_of, serve_config
    from raytune_infer.report.renderers.console_view import print_view
    from raytune_infer.report.study_report import result_view
    from raytune_infer.report.words.verdict import answer
    from serve_deployments.settings import Settings

    said, settings = answer(result.comparison, result.objective), Settings.of(result.best.settings)
    payload_type = payload_type_of(result.run, service)
    config = serve_config(service, settings, payload_type, said, samples=samples_of(service))
    files = write_files(result, config)
    console.print()
    print_view(console, result_view(result, files))
    _tell_report(console, result.run)


def _tell_trials(console: Console, failed: NothingToRecommend) -> None:
    """Write the trials of a study without a recommendation, and print what shows in them; why comes as its error."""
    from raytune_infer.report.export.report_files import write_trials
    from raytune_infer.report.renderers.console_view import print_view
    from raytune_infer.report.view import Note, View
    from raytune_infer.report.words.samples import sample_notes

    path = write_trials(failed.run, failed.trials)
    console.print()
    print_view(console, View(notes=(*map(Note, sample_notes(failed.trials)), Note(f"the trials: {path}"))))
    _tell_report(console, failed.run)


def _tell_report(console: Console, run: RunFolder) -> None:
    """Write the report of a run, and name it in the last line: all else that the run leaves is written by now."""
    from raytune_infer.errors import UserError
    from raytune_infer.report.renderers.console_view import print_view
    from raytune_infer.report.view import Note, View
    from raytune_infer.report.whole.output.report_file import write_report

    try:
        told = Note(f"The report: {write_report(run)}", "conclusion")
    except Exception as error:  # the study itself is over, and all else of it is written
        why = error if isinstance(error, UserError | OSError) else f"{type(error).__name__}: {error}"
        told = Note(f"The report was not written: {why}", "warning")
    print_view(console, View(notes=(told,)))
