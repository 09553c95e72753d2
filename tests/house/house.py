"""The house in numbers, by its imports: what lies side by side, how much imports how much, and whether in circles.

python tests/house/house.py          of the repository in whose folder it is run, as docs/architecture.md has it
"""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

import grimp

PACKAGES = ("raytune_infer", "searchers", "serve_deployments", "cluster")


@dataclass(frozen=True)
class Numbers:
    """Of one package.

    Args:
        modules: files and folders, however deep.
        parts: files and folders side by side in its root, its own `__init__` among them.
        most: the same of the folder that has most.
        arrows: imports from one module of it to another, also those inside of functions and for type checking.
        circle: parts that import one another in a circle; empty where there is none.
    """

    modules: int
    parts: int
    most: int
    arrows: int
    circle: tuple[str, ...]


def graph(packages: Sequence[str] = PACKAGES) -> grimp.ImportGraph:
    """Of all packages, or these, as the files are now."""
    return grimp.build_graph(*packages, cache_dir=None)


def numbers(of: grimp.ImportGraph, package: str) -> Numbers:
    """Of a package in the graph."""
    modules = sorted(m for m in of.modules if m == package or m.startswith(f"{package}."))
    arrows = {(a, b) for a in modules for b in of.find_modules_directly_imported_by(a) if b in modules}
    beside = Counter(m.rpartition(".")[0] for m in modules if m != package)
    between: dict[str, set[str]] = {}
    for importer, imported in arrows:
        if (part := _part(importer)) != _part(imported):
            between.setdefault(part, set()).add(_part(imported))
    return Numbers(len(modules), beside[package] + 1, max(beside.values()) + 1, len(arrows), _circle(between))


def _part(module: str) -> str:
    return ".".join(module.split(".")[:2])


def _circle(arrows: dict[str, set[str]]) -> tuple[str, ...]:
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        return tuple(error.args[1])
    return ()


if __name__ == "__main__":
    sys.path.insert(0, "")
    found = graph()
    for name in PACKAGES:
        print(name, numbers(found, name))
