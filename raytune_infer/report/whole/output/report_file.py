"""The report of a run as a file in its folder."""

from __future__ import annotations

from pathlib import Path

from raytune_infer.report.renderers import renderer_of
from raytune_infer.report.whole.run_facts import facts_of
from raytune_infer.report.whole.whole_report import whole_report
from raytune_infer.store.run_folder import RunFolder

NAME = "report.html"


def write_report(run: RunFolder) -> Path:
    """Write the report of a run into its folder; returns its path."""
    path = run.path / NAME
    view = whole_report(facts_of(run))
    with path.open("w", encoding="utf-8") as file:
        renderer_of("html")(view, file)
    return path
