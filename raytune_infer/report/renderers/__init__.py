"""How a view is shown: a file for each form, and a line for it here."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TextIO

from raytune_infer.errors import UserError
from raytune_infer.report.view import View

Renderer = Callable[[View, TextIO], None]
"""Writes a view. A text comes out as it stands there: a renderer escapes what its form would take for markup."""

RENDERERS: dict[str, str] = {
    "console": "raytune_infer.report.renderers.console_view",
    "json": "raytune_infer.report.renderers.json_view",
    "csv": "raytune_infer.report.renderers.csv_view",
}
"""Name → the module whose `render` it is."""


def renderer_of(name: str) -> Renderer:
    """The renderer of that name.

    Raises:
        UserError: there is none.
    """
    if name not in RENDERERS:
        raise UserError(f"--format {name}: there are {', '.join(RENDERERS)}")
    render: Renderer = import_module(RENDERERS[name]).render
    return render
