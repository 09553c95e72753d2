"""The house: `searchers`, `serve_deployments` and `cluster` never import one another; only raytune_infer joins them."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {"raytune_infer", "searchers", "serve_deployments", "cluster"}


def imported(source: str) -> Iterator[str]:
    """Top-level names that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.split(".")[0]


def breaches(package: str, source: str) -> set[str]:
    return (set(imported(source)) & PACKAGES) - {package}


@pytest.mark.parametrize("package", sorted(PACKAGES - {"raytune_infer"}))
def test_a_lower_layer_imports_no_other(package):
    files = list((ROOT / package).rglob("*.py"))
    assert files
    found = {str(f.relative_to(ROOT)): b for f in files if (b := breaches(package, f.read_text()))}
    assert not found


def test_only_the_adapter_knows_ray():
    knows = {f.name for f in (ROOT / "searchers").rglob("*.py") if "ray" in imported(f.read_text())}
    assert knows == {"tune.py", "param_space.py"}


def test_the_test_would_notice():
    assert breaches("searchers", "def f():\n    from cluster import gpus") == {"cluster"}
    assert breaches("searchers", "import searchers.space, raytune_infer.spec") == {"raytune_infer"}
