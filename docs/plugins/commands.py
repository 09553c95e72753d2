"""The page of commands: written from the command line itself whenever the site is built."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import typer.main
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

MARK = "<!-- commands -->"
"""Where the page has the commands."""


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The page with the commands in place of the mark."""
    if MARK not in markdown:
        return markdown
    sys.path.insert(0, str(Path(config.config_file_path).parent))  # this repository's, whatever else is installed
    return markdown.replace(MARK, commands())


def commands() -> str:
    """A section for each command: what it does, how it is called, its arguments and options."""
    from raytune_infer.commands.app import app

    found: dict[str, Any] = vars(typer.main.get_command(app))["commands"]
    return "\n".join(section(name, command) for name, command in found.items())


def section(name: str, command: Any) -> str:
    """One command; its parameters are what `--help` says of them."""
    context = command.make_context(name, [], resilient_parsing=True)
    usage = " ".join(["raytune-infer", name, *command.collect_usage_pieces(context)])
    said = [parameter.get_help_record(context) for parameter in command.params]
    rows = [f"| `{words}` | {_in_a_cell(meaning)} |" for words, meaning in filter(None, said)]
    table = ["| argument or option | meaning |", "| :-- | :-- |", *rows]
    return "\n".join([f"## {name}", _in_lines(command.help), "", "```text", usage, "```", "", *table, ""])


def _in_lines(text: str | None) -> str:
    return "\n".join(line.strip() for line in (text or "").splitlines())


def _in_a_cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|").replace("<", "&lt;")
