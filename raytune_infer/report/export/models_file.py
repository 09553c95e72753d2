"""A models.yaml: several models to be served by the same replicas, and the Serve config that it becomes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from raytune_infer.errors import UserError
from serve_deployments.models.context import ModelError
from serve_deployments.models.model import caution, check
from serve_deployments.replicas.many.choosing.cheapest_conversion import IDLE_S
from serve_deployments.replicas.many.entry import ModelEntry, process_settings

BUILDER = "serve_deployments.replicas.many.application:application"
"""What a Serve config imports for it."""


class ModelsFile(BaseModel):
    """The keys of a models.yaml."""

    model_config = ConfigDict(extra="forbid", strict=True)

    models: Annotated[dict[str, str | dict[str, Any]], Field(min_length=1)]
    replicas: Annotated[int, Field(ge=1)] = 1
    idle_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = IDLE_S


def read_models(path: Path) -> dict[str, Any]:
    """The arguments of the application of many models that a models.yaml stands for.

    Its keys are `models`: name → a path of an exported Serve config, from the file's folder on, or such a config's
    `args`; `replicas`, 1 if it is left out; and `idle_s`.

    Raises:
        UserError: the file or one of the configs cannot be read, a value is none, a model cannot be built like this, or
            two models cannot be served by one process. The message names the place and the remedy.
    """
    try:
        asked = ModelsFile.model_validate(_yaml(path))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UserError(f"{path}: {place}: {first['msg']}; it has `models`, `replicas` and `idle_s`") from None
    models = {name: _args(path, name, value) for name, value in asked.models.items()}
    for name, args in models.items():
        _check(path, name, args)
    try:
        process_settings(ModelEntry.of(name, args) for name, args in models.items())
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
    return {"models": models, "replicas": asked.replicas, "idle_s": asked.idle_s, "store": path.resolve().stem}


def cautions(args: Mapping[str, Any]) -> tuple[str, ...]:
    """What code the models run, a sentence for each that runs any."""
    entries = (ModelEntry.of(name, each) for name, each in args["models"].items())
    return tuple(f"{entry.name}: {said}" for entry in entries if (said := caution(entry.source)) is not None)


def many_config(args: Mapping[str, Any], name: str) -> str:
    """The YAML for `serve deploy`.

    Args:
        args: as of `read_models`.
        name: name of the application.
    """
    config = {
        "proxy_location": "EveryNode",
        "http_options": {"port": 8000, "host": "127.0.0.1"},
        "applications": [{"name": name, "route_prefix": "/", "import_path": BUILDER, "args": dict(args)}],
    }
    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True)


def _yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is no YAML: {' '.join(str(error).split())}") from None


def _args(path: Path, name: str, value: str | dict[str, Any]) -> dict[str, Any]:
    """The arguments of one model's application; relative paths of the model start in the folder of models.yaml."""
    if isinstance(value, dict):
        model = value.get("model")
        return {**value, "model": {"folder": str(path.parent.resolve()), **model}} if isinstance(model, dict) else value
    config = path.parent / value
    written = _yaml(config)
    try:
        (application,) = written["applications"]
        args: dict[str, Any] = application["args"]
    except (KeyError, TypeError, ValueError):
        raise UserError(
            f"{path}: models.{name}: {config} is no Serve config of one model; `raytune-infer export RUN` writes one"
        ) from None
    return args


def _check(path: Path, name: str, args: Mapping[str, Any]) -> None:
    try:
        entry = ModelEntry.of(name, args)
        check(entry.source, entry.settings.args)
    except (ModelError, ValueError) as error:
        raise UserError(f"{path}: models.{name}: {error}") from None
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{path}: models.{name}: {error}; it takes `model` (reference or path), `settings` and `payload`, "
            "as an exported config has them under `args`"
        ) from None
