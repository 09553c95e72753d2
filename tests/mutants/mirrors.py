"""Which test files mirror a module: those that import it; where none does, those that import what imports it.

Read from the imports, so that a module which moves takes its tests along.
"""

import ast
from collections.abc import Iterator, Mapping
from functools import cache, cached_property
from pathlib import Path

PACKAGES = ("raytune_infer", "searchers", "serve_deployments", "cluster", "benchmarks")


class Mirrors:
    """The tests of every module of a repository."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._files = {
            name_of(file.relative_to(root)): file for package in PACKAGES for file in (root / package).rglob("*.py")
        }
        self._tests = sorted((root / "tests").rglob("*.py"))

    def of(self, path: str) -> list[str]:
        """Test files relative to the repository; those that carry the module's name come first.

        Raises:
            LookupError: no test imports it, nor anything that leads to it.
        """
        reached = {name_of(Path(path))}
        seen = set(reached)
        while reached:
            mirroring = {test for test, imports in self._imports_of_tests.items() if imports & reached}
            if mirroring:
                named = f"test_{Path(path).stem}.py"
                return sorted(mirroring, key=lambda test: (Path(test).name != named, test))
            reached = {name for name, imports in self._imports.items() if imports & reached} - seen
            seen |= reached
        raise LookupError(f"no test imports {path}, nor anything that imports it")

    @cached_property
    def _imports(self) -> Mapping[str, set[str]]:
        return {name: set(self._resolved(file)) - {name} for name, file in self._files.items()}

    @cached_property
    def _imports_of_tests(self) -> Mapping[str, set[str]]:
        """What each test file imports, helpers beside it included."""
        direct = {file: set(self._resolved(file)) for file in self._tests}
        found = {}
        named = {name_of(file.relative_to(self._root)): file for file in self._tests}
        for file in self._tests:
            if file.name.startswith("test_"):
                helpers = {named[name] for name in names_in(file) & named.keys()}
                found[file.relative_to(self._root).as_posix()] = direct[file].union(*(direct[h] for h in helpers))
        return found

    def _resolved(self, file: Path) -> Iterator[str]:
        """Modules of ours that a file imports; a name that a package hands on counts for the module it comes from."""
        for node in parsed(file):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield from self._named(node.value.split(":")[0])
            elif isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names if alias.name in self._files)
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                for alias in node.names:
                    yield from self._origin(node.module, alias.name)

    def _named(self, text: str) -> Iterator[str]:
        """The module that a text names: what is imported on demand, or is stood in for (`package.module.function`)."""
        name = text if all(part.isidentifier() for part in text.split(".")) else ""
        while "." in name and name not in self._files:
            name = name.rpartition(".")[0]
        yield from {name} & self._files.keys()

    def _origin(self, module: str, name: str) -> Iterator[str]:
        if f"{module}.{name}" in self._files:
            yield f"{module}.{name}"
        elif module in self._files:
            file = self._files[module]
            origins = list(self._handed_on(file, name)) if file.name == "__init__.py" else []
            yield from origins or [module]

    def _handed_on(self, file: Path, name: str) -> Iterator[str]:
        for node in parsed(file):
            if isinstance(node, ast.ImportFrom) and name in {alias.asname or alias.name for alias in node.names}:
                yield from self._origin(node.module or "", name)


@cache
def parsed(file: Path) -> list[ast.AST]:
    """All nodes of a file, each tree read once."""
    return list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))


def names_in(file: Path) -> set[str]:
    """Every module that a file imports from."""
    return {node.module for node in parsed(file) if isinstance(node, ast.ImportFrom) and node.module}


def name_of(path: Path) -> str:
    """A file's name as a module."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
