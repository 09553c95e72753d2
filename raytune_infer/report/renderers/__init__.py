"""Renderers of views: one module for each format, registered here with one line."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TextIO

from raytune_infer.errors import UserError
from raytune_infer.report.view import View

Renderer = Callable[[View, TextIO], None]
"""Function that writes a view. Texts appear unchanged: a renderer escapes what its format would read as markup."""

RENDERERS: dict[str, str] = {
    "console": "raytune_infer.report.renderers.console_view",
    "json": "raytune_infer.report.renderers.json_view",
    "csv": "raytune_infer.report.renderers.csv_view",
}
"""Name of a format → the module with its function `render`."""


def renderer_of(name: str) -> Renderer:
    """Return the renderer of this name.

    Raises:
        UserError: there is no such renderer.
    """
    if name not in RENDERERS:
        raise UserError(f"--format {name}: there are {', '.join(RENDERERS)}")
    render: Renderer = import_module(RENDERERS[name]).render
    return render
