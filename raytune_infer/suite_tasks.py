"""Tasks of a suite of measured tables, through whatever reads suites."""

from __future__ import annotations

import importlib
from pathlib import Path

from raytune_infer.errors import RunError
from searchers.base import Task

SUITE = "suite.json"


def suite_tasks(folder: Path) -> tuple[Task, ...]:
    """All tasks of a suite.

    Raises:
        RunError: suites cannot be read by this version.
    """
    try:
        load_suite = importlib.import_module("raytune_infer.suites").load_suite
    except ModuleNotFoundError:
        raise RunError(
            f"{folder} is a suite of tables, which this version cannot read; give run folders or history databases"
        ) from None
    return tuple(load_suite(folder).tasks)
