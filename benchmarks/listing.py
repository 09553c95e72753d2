"""Lists the benchmarks with a line on each, read from their files without importing them, which would be slow."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
FOLDERS: Mapping[str, tuple[str, ...]] = {
    "search": (
        "search", "search_all", "shuffled", "noise", "calibration", "belief_coverage", "switching", "tolerance",
        "suggest_time", "adaptation", "meta_training_speed", "expected",
    ),
    "measuring": (
        "until_sure", "highest_rate_cost", "stalls", "same_rate", "repeatability", "simulated_queue", "cross_check",
        "replica_garbage",
    ),
    "trials": ("rank", "trial_overhead", "serve_throughput"),
    "planes": ("planes", "roofline_fit"),
    "operators": ("operators",),
    "gpu": ("gpu",),
    "faults": ("chaos", "soak"),
    "transform": ("transform", "real_replay", "convert"),
}  # fmt: skip
"""Folder → the names of its benchmarks, which are those of their files."""

LISTED: Mapping[str, str] = {name: folder for folder, names in FOLDERS.items() for name in names}
"""Name of a benchmark → its folder."""


def module_of(name: str) -> str:
    """The full module name of a benchmark."""
    return f"{__package__}.{LISTED[name]}.{name}"


def about(name: str) -> str:
    """The first line of a benchmark's docstring."""
    source = (FOLDER / LISTED[name] / f"{name}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def listing() -> str:
    """The text that lists all benchmarks by folder, a line each."""
    width = max(map(len, LISTED))
    return "\n\n".join(
        "\n".join([f"{folder}/", *(f"  {name:<{width}}  {about(name)}" for name in names)])
        for folder, names in FOLDERS.items()
    )
