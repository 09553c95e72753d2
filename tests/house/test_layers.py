"""What only an extra brings is imported where that is said; nothing has too many neighbours, or a circle.

The layers are import-linter's: pyproject.toml.
"""

import ast
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import packages_distributions

import grimp
import pytest

from tests.house.house import graph, numbers
from tests.repository import ROOT

PACKAGES = {"raytune_infer", "searchers", "serve_deployments", "cluster"}
HOUSE = (*sorted(PACKAGES), "benchmarks")


def imported(source: str) -> Iterator[str]:
    """Top-level names that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.split(".")[0]


EXTRAS = {
    "onnxruntime": {"serve_deployments/models/loaders/onnx.py"},
    "transformers": {
        "serve_deployments/models/loaders/transformers.py",
        "raytune_infer/spec/samples/requests/reading.py",
        "serve_deployments/models/loaders/llm/transformers_engine.py",
        "serve_deployments/models/loaders/llm/padded_batch.py",
        "serve_deployments/fakes/tiny_llama.py",
    },
    "tokenizers": {"serve_deployments/fakes/tiny_llama.py"},
    "matplotlib": {"raytune_infer/report/renderers/curve_drawing.py"},
    "optuna": {"searchers/baselines/optuna_samplers.py"},
    "kmedoids": {"serve_deployments/replicas/many/choosing/placement.py"},
    **dict.fromkeys(("botorch", "gpytorch", "linear_operator"), {"searchers/baselines/gaussian_process.py"}),
}
"""Modules that only an extra brings → where they are imported, behind an error that names the extra."""


def name_of(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement)[0].lower().replace("-", "_")


def test_what_only_an_extra_brings_is_imported_where_that_is_said():
    # deptry takes what any extra declares for something that is always there.
    # As this tree declares it: what is installed may have been so for longer.
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    always = {"raytune_infer", *map(name_of, project["dependencies"])}
    optional = {name_of(line) for extra in project["optional-dependencies"].values() for line in extra} - always
    modules = {m for m, names in packages_distributions().items() if optional & set(map(name_of, names))}
    found: dict[str, set[str]] = {}
    for file in (file for package in PACKAGES for file in (ROOT / package).rglob("*.py")):
        for module in set(imported(file.read_text())) & modules:
            found.setdefault(module, set()).add(file.relative_to(ROOT).as_posix())
    assert found == EXTRAS


@pytest.fixture(scope="module")
def house():
    return graph(HOUSE)


@pytest.mark.parametrize("package", HOUSE)
def test_a_package_has_no_circle_and_at_most_fifteen_files_and_folders_side_by_side(house, package):
    found = numbers(house, package)
    assert found.circle == () and found.parts <= found.most <= 15


def test_tests_lie_in_folders_as_the_packages_do():
    folders = [ROOT / "tests", *(each for each in (ROOT / "tests").rglob("*") if each.is_dir())]
    beside = {
        folder: [e for e in folder.iterdir() if e.suffix in {".py", ".yaml"} or (e.is_dir() and e.name[0] not in "_.")]
        for folder in folders
    }
    assert not {folder: len(found) for folder, found in beside.items() if len(found) > 15}
    for package in PACKAGES:
        tested = {each.name for each in beside[ROOT / "tests" / package] if each.is_dir()}
        assert tested - {"trajectories"} <= {each.name for each in (ROOT / package).iterdir()}


def test_no_two_files_of_tests_have_one_name():
    """There are no packages among them, so pytest takes a second one of a name for the first, and does not run it."""
    names = Counter(each.name for each in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []


def test_numbers_of_a_house_by_hand():
    found = grimp.ImportGraph()
    for module in ("p", "p.a", "p.a.x", "p.a.y", "p.a.z", "p.b", "p.c", "other.m"):
        found.add_module(module)
    for importer, imported in (("p.a.x", "p.a.y"), ("p.a.y", "p.b"), ("p.b", "p.c"), ("p.c", "other.m")):
        found.add_import(importer=importer, imported=imported)
    straight = numbers(found, "p")
    assert (straight.modules, straight.parts, straight.most, straight.arrows, straight.circle) == (7, 4, 4, 3, ())
    found.add_import(importer="p.c", imported="p.a.x")
    assert set(numbers(found, "p").circle) == {"p.a", "p.b", "p.c"}
