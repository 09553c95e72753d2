"""What only an extra brings is imported where that is said; the layers of the house are import-linter's (pyproject)."""

import ast
import re
from collections.abc import Iterator
from importlib.metadata import packages_distributions, requires
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = {"raytune_infer", "searchers", "serve_deployments", "cluster"}


def imported(source: str) -> Iterator[str]:
    """Top-level names that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.split(".")[0]


EXTRAS = {
    "onnxruntime": {"serve_deployments/models/loaders.py"},
    "transformers": {"serve_deployments/models/loaders.py"},
    "matplotlib": {"raytune_infer/report/curve_drawing.py"},
    "optuna": {"searchers/baselines/optuna_samplers.py"},
    **dict.fromkeys(("botorch", "gpytorch", "linear_operator"), {"searchers/baselines/gaussian_process.py"}),
}
"""Modules that only an extra brings → where they are imported, behind an error that names the extra."""


def name_of(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement)[0].lower().replace("-", "_")


def test_what_only_an_extra_brings_is_imported_where_that_is_said():
    # deptry takes what any extra declares for something that is always there.
    required = requires("raytune-infer") or []
    always = {"raytune_infer", *(name_of(line) for line in required if "extra ==" not in line)}
    optional = {name_of(line) for line in required} - always
    modules = {m for m, names in packages_distributions().items() if optional & set(map(name_of, names))}
    found: dict[str, set[str]] = {}
    for file in (file for package in PACKAGES for file in (ROOT / package).rglob("*.py")):
        for module in set(imported(file.read_text())) & modules:
            found.setdefault(module, set()).add(file.relative_to(ROOT).as_posix())
    assert found == EXTRAS
