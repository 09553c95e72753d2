"""`report`: everything that is known of a run, as one file to pass on."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from raytune_infer.commands.options import Db, Format, Out, RunPath, output


def report(
    run: RunPath,
    out: Out = None,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Show it to a browser of this machine, also while the study runs."),
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port for --watch; by default a free one.")] = 0,
    db: Db = None,
    form: Format = "html",
) -> None:
    """Write everything that is known of a run as one HTML file that needs nothing else."""
    if watch:
        if out is not None or form != "html":
            from raytune_infer.errors import UserError

            raise UserError(
                "--watch shows the report to a browser, and writes no file: leave out --out and --format, or --watch"
            )
        _watch(run, db, port)
        return
    from raytune_infer.report.renderers import renderer_of
    from raytune_infer.store.run_folder import open_run

    render, folder = renderer_of(form), open_run(run, db)
    from raytune_infer.report.whole.run_facts import facts_of
    from raytune_infer.report.whole.whole_report import whole_report

    view = whole_report(facts_of(folder))
    with output(out) as file:
        render(view, file)


def _watch(run: Path, db: str | None, port: int) -> None:
    from raytune_infer.report.whole.output.watching import serving

    with serving(run, db, port) as server:
        typer.echo(f"http://127.0.0.1:{server.server_port}/ shows {run}; Ctrl-C ends it")
        with suppress(KeyboardInterrupt):
            server.serve_forever()
