"""What a loader is: one way to read weights. Those that there are stand in `loaders`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serve_deployments.endpoint import Payload
from serve_deployments.models.context import PRECISIONS


@dataclass(frozen=True)
class Loader:
    """One way to read weights.

    Args:
        name: what users call it.
        needs: modules that must be installed.
        remedy: how to install them.
        guesses: the path is certainly of this kind, and reading it executes nothing from it.
        check: raises `ModelError` if what is at the path cannot be read.
        build: path, context and the user's arguments → a function from payloads to as many results.
        precisions: that it can load weights in.
        executes: reading a file may execute code from it, so that it is read only where asked for by name, and a
            study says so before it begins.
        consumes: fields of `ModelContext` that the built model depends on.
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
