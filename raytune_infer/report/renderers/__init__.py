"""Renderers of views: one module for each format, registered here with one line."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
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
    "html": "raytune_infer.report.renderers.html.html_view",
}
"""Name of a format → the module with its function `render`."""


def renderer_of(name: str) -> Renderer:
    """Return the renderer of this name; `csv:notes` is CSV of the table `notes`.

    Raises:
        UserError: there is no such renderer.
    """
    form, colon, table = name.partition(":")
    if form not in RENDERERS or (colon and form != "csv"):
        raise UserError(f"--format {name}: there are {', '.join(RENDERERS)}, and csv:TABLE for another table")
    render: Renderer = import_module(RENDERERS[form]).render
    if not table:
        return render
    from raytune_infer.report.renderers import csv_view

    return partial(csv_view.render, table=table)
