"""How to deploy what is recommended: its settings, and the commands."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping

from raytune_infer.report.export.serve_config import DEPLOY, STATUS
from raytune_infer.report.view import Column, Note, Row, Table, View
from raytune_infer.report.whole.run_facts import RunFacts
from raytune_infer.store.database_url import shown_url

_TITLE = "How to deploy it"


def deploying_view(facts: RunFacts) -> View:
    """Return the settings of the recommended replica and the commands that deploy it; a sentence without one."""
    best = facts.best
    if best is None:
        return View(_TITLE, notes=(Note("There is nothing to deploy, as no configuration counts.", "warning"),))
    run = shlex.quote(str(facts.run.path))
    # A database of its own has to be named again; its password, which is hidden here, too.
    named = facts.run.database_url is not None
    db = f" --db {shlex.quote(str(shown_url(facts.run.database_url)))}" if named else ""
    steps = (
        ("write the config", f"raytune-infer export {run}{db} > serve_config.yaml"),
        ("deploy it to a running Ray", DEPLOY),
        ("see whether it runs", STATUS),
    )
    commands = Table(
        "commands", (Column("step", "to", kind="text"), Column("command", "run", kind="text")),
        tuple(Row(step) for step in steps), "Commands",
    )  # fmt: skip
    settings = Table(
        "settings", (Column("setting", "setting", kind="text"), Column("value", "value", kind="text")),
        tuple(Row((name, json.dumps(value, ensure_ascii=False, default=str))) for name, value in _told(best.settings)),
        "Settings of each replica, as they were measured",
    )  # fmt: skip
    note = Note("The config says how to send requests to it, and what must be on each node (docs/calling.md).")
    return View(_TITLE, tables=(commands, *((settings,) if settings.rows else ())), notes=(note,))


def _told(settings: object) -> list[tuple[str, object]]:
    """Return the settings that have a value."""
    return [(n, v) for n, v in settings.items() if v not in (None, {}, [], "")] if isinstance(settings, Mapping) else []
