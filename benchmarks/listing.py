"""Which benchmarks there are, and what each is in a line; read without importing them, so it takes no time."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
FOLDERS: Mapping[str, tuple[str, ...]] = {
    "search": (
        "search", "shuffled", "noise", "calibration", "belief_coverage", "switching", "suggest_time", "adaptation",
        "meta_training_speed",
    ),
    "measuring": ("until_sure", "highest_rate_cost", "repeatability", "simulated_queue", "cross_check"),
    "trials": ("rank", "trial_overhead", "serve_throughput"),
    "planes": ("planes", "roofline_fit"),
    "gpu": ("gpu",),
    "faults": ("chaos", "soak"),
}  # fmt: skip
"""Folder → the names of its benchmarks, each that of its file."""

LISTED: Mapping[str, str] = {name: folder for folder, names in FOLDERS.items() for name in names}
"""Name → its folder."""


def module_of(name: str) -> str:
    """The module of a benchmark that is listed."""
    return f"{__package__}.{LISTED[name]}.{name}"


def about(name: str) -> str:
    """The first line of what a benchmark says of itself."""
    source = (FOLDER / LISTED[name] / f"{name}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def listing() -> str:
    """All benchmarks, a line each, by folder."""
    width = max(map(len, LISTED))
    return "\n\n".join(
        "\n".join([f"{folder}/", *(f"  {name:<{width}}  {about(name)}" for name in names)])
        for folder, names in FOLDERS.items()
    )
