"""What a service.yaml has a study run, read, reach and write, found without running any of it, and the view of it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from raytune_infer.report.view import Column, Note, Row, Table, View
from raytune_infer.spec.knobs.condition_notes import condition_notes
from raytune_infer.spec.paths import beside
from raytune_infer.spec.samples.samples import sample_files
from raytune_infer.spec.service import loading_variables, missing_secrets, model_source
from raytune_infer.spec.service_spec import ServiceSpec
from raytune_infer.study.fingerprint.file_digests import model_files, named_files
from serve_deployments.device.core_locks import lock_folder
from serve_deployments.environment.code_loading import loads_code
from serve_deployments.environment.secrets import secrets_in
from serve_deployments.models.loaders import LOADERS
from serve_deployments.models.model import ModelFiles, locate
from serve_deployments.models.service_folder import module_file
from serve_deployments.settings import Settings

Kind = Literal["runs", "reads", "reaches", "writes"]

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://.+", re.IGNORECASE)
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
"""A model's name on the Hugging Face Hub, with its owner's; one without looks like any word."""


@dataclass(frozen=True)
class Effect:
    """One thing that a study does.

    Args:
        kind: what is done.
        what: what it is done to, or with.
        why: where service.yaml says so, or what it is for.
    """

    kind: Kind
    what: str
    why: str


def effects(spec: ServiceSpec) -> tuple[Effect, ...]:
    """Return all that a study of this service does beyond computing; raises SpecError or ModelError."""
    return (*_run(spec), *_read(spec), *_reached(spec), *_written(spec))


def effects_view(spec: ServiceSpec) -> View:
    """Return what a study of this service does, with whether it runs code of the user's."""
    found = effects(spec)
    columns = (Column("does", kind="text"), Column("what", "what", kind="text"), Column("why", "why", kind="text"))
    table = Table("effects", columns, tuple(Row((each.kind, each.what, each.why)) for each in found))
    runs = bool(code_of(spec))
    said = f"{spec.name}: valid; nothing was run. "
    said += (
        "A study runs the code named above (`runs`): go on only if you trust it."
        if runs
        else ("A study runs no code of this service: its files are only read.")
    )
    notes = [Note(said, "warning" if runs else "success")]
    notes += [Note(said) for said in condition_notes(spec.knobs, spec.where)]
    notes += [
        Note(f"{name}, which holds the secret model.args.{argument}, is not set here; `tune` needs it", "warning")
        for name, argument in missing_secrets(spec).items()
    ]
    return View(tables=(table,), notes=tuple(notes))


def code_of(spec: ServiceSpec) -> tuple[Effect, ...]:
    """Return what code a study of the service runs; empty if its files are only read."""
    return tuple(_run(spec))


def code_of_config(spec: ServiceSpec, settings: Settings) -> tuple[Effect, ...]:
    """Return what code an exported config runs: the model's, and what the variables of its own settings may load."""
    loaded = (f"what {name}={value} may load" for name, value in settings.env.items() if loads_code(name, value))
    return (*_of_model(spec), *(Effect("runs", what, "an environment variable, in each replica") for what in loaded))


def _run(spec: ServiceSpec) -> Iterator[Effect]:
    yield from _of_model(spec)
    if spec.quality.score is not None:
        yield Effect("runs", _code(spec.quality.score, spec.folder), "quality: when checked, and in each trial")
    for name, values in loading_variables(spec).items():
        yield Effect("runs", f"what {name}={values} may load", "knobs: an environment variable, in each replica")


def _of_model(spec: ServiceSpec) -> Iterator[Effect]:
    if spec.model.build is not None:
        yield Effect("runs", _code(spec.model.build, spec.folder), "model.build: when checked, and in each replica")
    source = model_source(spec)
    # One that may execute code is never guessed.
    if isinstance(source, ModelFiles) and source.loader is not None and LOADERS[source.loader].executes:
        yield Effect("runs", source.path, f"model.path: the loader {source.loader} may execute code from it")


def _code(reference: str, folder: Path) -> str:
    """A reference with the file that it is in; nothing is imported, so a package's own search path is not asked."""
    file = module_file(reference.partition(":")[0], str(folder))
    return f"{reference}, whose file is not found" if file is None else f"{reference} in {file}"


def _read(spec: ServiceSpec) -> Iterator[Effect]:
    yield Effect("reads", str(spec.folder / Path(spec.file).name), "the service")
    source = model_source(spec)
    if isinstance(source, ModelFiles):
        path, loader = locate(source)
        yield Effect("reads", str(path), f"model.path, by the loader {loader.name}")
    if spec.runs_code:
        yield Effect("reads", str(spec.folder), "modules there come before all others, as code of it runs")
    for file in sample_files(spec):
        yield Effect("reads", str(file), "samples")
    arrivals = spec.load.arrivals
    if not isinstance(arrivals, str) and arrivals.trace is not None:
        yield Effect("reads", str(beside(spec.folder, arrivals.trace)), "load.arrivals.trace")
    if spec.prices is not None and (book := beside(spec.folder, spec.prices)).is_file():
        yield Effect("reads", str(book), "prices")
    for name in dict.fromkeys(secrets_in(spec.model.args)):
        yield Effect("reads", f"the environment variable {name}", "model.args: a secret, in each replica")
    yield from _digested(spec)
    yield Effect("reads", "history.db of runs beside the new one", "a search learns from them, but with --no-history")


def _digested(spec: ServiceSpec) -> Iterator[Effect]:
    """The files of which a study keeps digests, but those of the model's folder or file, which is read anyway."""
    source = model_source(spec)
    model = locate(source)[0] if isinstance(source, ModelFiles) else None
    for file in dict.fromkeys(model_files(spec).values()):
        if model is None or not file.is_relative_to(model):
            yield Effect("reads", str(file), "code or a model: its digest is kept with the run")
    for file in dict.fromkeys(named_files(spec).values()):
        yield Effect("reads", str(file), "named in model.args or knobs: its digest is kept with the run")


def _reached(spec: ServiceSpec) -> Iterator[Effect]:
    yield Effect("reaches", "a Ray of its own on 127.0.0.1", "without --address and RAY_ADDRESS")
    yield Effect(
        "reaches", f"the nodes of a cluster, which get the files in {spec.folder}", "only with --address or RAY_ADDRESS"
    )
    for place, text in _texts(spec.model.args, "model.args"):
        if _ADDRESS.fullmatch(text):
            yield Effect("reaches", text, f"{place}: looks like an address")
        elif _HUB_NAME.fullmatch(text) and not (spec.folder / text).exists():
            yield Effect("reaches", text, f"{place}: looks like a model's name on the Hugging Face Hub")
    if code_of(spec):
        yield Effect("reaches", "whatever the code above reaches", "this is not known")


def _texts(value: Any, place: str) -> Iterator[tuple[str, str]]:
    match value:
        case str():
            yield place, value
        case Mapping():
            for key, inner in value.items():
                yield from _texts(inner, f"{place}.{key}")
        case list() | tuple():
            for inner in value:
                yield from _texts(inner, place)


def _written(spec: ServiceSpec) -> Iterator[Effect]:
    yield Effect("writes", f"runs/{spec.name}-DATE-TIME", "the run's folder; another one with --out")
    yield Effect("writes", str(lock_folder()), "locks of the cores that replicas have")
    home = Path.home() / ".ray" / "auth_token"
    yield Effect("writes", str(home), "the token of a Ray of its own, if there is none yet")
    yield Effect("writes", f"{os.environ.get('RAY_TMPDIR', '/tmp')}/ray", "logs and sockets of a Ray of its own")
