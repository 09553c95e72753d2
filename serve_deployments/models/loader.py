"""The definition of a loader, which reads weights in one format. The available ones are listed in `loaders`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serve_deployments.endpoint import Payload
from serve_deployments.models.context import PRECISIONS


@dataclass(frozen=True)
class Loader:
    """A loader: reads weights in one format and builds a model from them.

    Args:
        name: the loader's name, by which users select it.
        needs: modules that must be installed.
        remedy: how to install them.
        guesses: path → whether it certainly has this format, and reading it executes no code from it.
        check: path → raises `ModelError` if it cannot be read.
        build: path, context and the user's arguments → a function from payloads to as many results.
        precisions: precisions that it can load weights in.
        executes: whether reading a file may execute code from it. Such a loader is used only if it is requested by
            name, and a study warns about it before it begins.
        consumes: fields of `ModelContext` that the built model depends on.
        structure: path, context and the user's arguments → the torch module that the built function computes with,
            whatever its weights are; None if it has none, or is built no faster without weights.
    """

    name: str
    needs: tuple[str, ...]
    remedy: str
    guesses: Callable[[Path], bool]
    check: Callable[[Path], None]
    build: Callable[..., Callable[[list[Payload]], list[Any]]]
    precisions: tuple[str, ...] = PRECISIONS
    executes: bool = False
    consumes: frozenset[str] = frozenset({"precision", "device"})
    structure: Callable[..., Any] | None = None
