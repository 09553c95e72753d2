"""`serve`: several models on few replicas."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from raytune_infer.commands.options import Address, Out, console_of_output, output


def serve(
    models: Annotated[Path, typer.Argument(metavar="MODELS_YAML", help="The models, and the number of replicas.")],
    address: Address = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port that listens on this machine.")] = 8000,
    config: Annotated[
        bool, typer.Option("--config", help="Print a config for `serve deploy`, and start nothing.")
    ] = False,
    out: Out = None,
) -> None:
    """Serve several models on few replicas, which become the model that is asked for."""
    from raytune_infer.errors import UserError
    from raytune_infer.report.export.models_file import cautions, many_config, read_models

    args = read_models(models)
    name = models.resolve().stem
    if config:
        with output(out) as file:
            file.write(many_config(args, name))
        return
    if out is not None:
        raise UserError("--out is the file of --config; without that nothing is written, so leave it out")
    from raytune_infer.study.connection.session import check_session, ray_session

    check_session(address=address, emulate=None)
    console = console_of_output()
    for said in cautions(args):
        console.print(said, markup=False, highlight=False)
    with ray_session(address=address, emulate=None, folder=models.resolve().parent, runs_code=True):
        _run(args, name, port)


def _run(args: dict[str, object], name: str, port: int) -> None:
    """Serve until interrupted, then take the application down."""
    import logging
    import signal
    import threading

    from ray import serve

    from serve_deployments.replicas.many.application import application
    from serve_deployments.replicas.many.front import HEADER

    console = console_of_output()
    logging.getLogger("ray.serve").setLevel(logging.ERROR)  # it logs each of our deployments
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ended by a supervisor as by Ctrl-C
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    try:
        serve.run(application(args), name=name, route_prefix="/")
        console.print(f"serving on http://127.0.0.1:{port}/; name the model in the header {HEADER}", highlight=False)
        console.print("GET says what was done so far; end it with Ctrl-C", highlight=False)
        threading.Event().wait()
    except KeyboardInterrupt:
        console.print("stopped")
        raise typer.Exit(130) from None
    finally:
        serve.delete(name)
