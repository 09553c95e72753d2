"""How a view is shown: a file for each form, and a line for it here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TextIO

from raytune_infer.errors import UserError
from raytune_infer.report.renderers import console_view, csv_view, json_view
from raytune_infer.report.view import View

Renderer = Callable[[View, TextIO], None]
"""Writes a view. A text comes out as it stands there: a renderer escapes what its form would take for markup."""

RENDERERS: dict[str, Renderer] = {
    "console": console_view.render,
    "json": json_view.render,
    "csv": csv_view.render,
}


def renderer_of(name: str) -> Renderer:
    """The renderer of that name.

    Raises:
        UserError: there is none.
    """
    if name not in RENDERERS:
        raise UserError(f"--format {name}: there are {', '.join(RENDERERS)}")
    return RENDERERS[name]
