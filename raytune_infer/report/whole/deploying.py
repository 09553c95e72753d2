"""How to deploy what is recommended: its settings, and the commands."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from raytune_infer.comparing.configuration_result import ConfigurationResult
from raytune_infer.errors import RunError
from raytune_infer.report.export.serve_config import DEPLOY, STATUS, serve_config
from raytune_infer.report.export.trust import recorded_settings
from raytune_infer.report.view import Column, Listing, Note, Row, Table, View
from raytune_infer.report.whole.run_facts import RunFacts
from raytune_infer.report.words.verdict import answer_so_far
from raytune_infer.spec.service_spec import ServiceSpec
from raytune_infer.store.database_url import shown_url
from serve_deployments.replicas.http.payload_type import PayloadType

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
    told = {**best.settings, "args": _without_texts(facts.spec, best.settings.get("args") or {})}
    settings = Table(
        "settings", (Column("setting", "setting", kind="text"), Column("value", "value", kind="text")),
        tuple(Row((name, json.dumps(value, ensure_ascii=False, default=str))) for name, value in _told(told)),
        "Settings of each replica, as they were measured",
    )  # fmt: skip
    said = [Note("The config says how to send requests to it, and what must be on each node (docs/calling.md).")]
    try:
        listings = _config(facts, best)
    except RunError as error:
        listings, said = (), [*said, Note(f"The config is not shown: {error}.", "warning")]
    return View(
        _TITLE, tables=(commands, *((settings,) if settings.rows else ())), listings=listings, notes=tuple(said)
    )


def _config(facts: RunFacts, best: ConfigurationResult) -> tuple[Listing, ...]:
    """Return the config that `export` writes, but for what a report that is passed on had better not tell.

    Texts among the arguments of the model may be keys or addresses, and samples may be somebody's: `export` has both.

    Raises:
        RunError: the record is not of this service.
    """
    if facts.run.payload_type is None:  # of a run that did not keep it, which would have to be read from the samples
        return ()
    settings = recorded_settings(facts.spec, best.config, best.settings)
    settings = replace(settings, args=_without_texts(facts.spec, settings.args))
    said = answer_so_far(best, facts.comparison, facts.objective, facts.comparing.left)
    text = serve_config(facts.spec, settings, PayloadType(**facts.run.payload_type), said)
    title = "The config (`export` puts in the samples for warm_up and the texts among the model's arguments)"
    return (Listing("serve_config", title, text),)


def _without_texts(spec: ServiceSpec, args: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments with dots for the texts among those of the model; knobs are told everywhere."""
    return {n: "..." if n in spec.model.args and not isinstance(at, int | float) else at for n, at in args.items()}


def _told(settings: Mapping[str, Any]) -> list[tuple[str, object]]:
    """Return the settings that have a value."""
    return [(n, v) for n, v in settings.items() if v not in (None, {}, [], "")]
