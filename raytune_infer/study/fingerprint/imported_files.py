"""The files that are executed when a module is imported, as far as they are a user's own; they are read, not run.

Code that is imported inside a function counts too. A module that is looked for under a name made at run time does not.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from importlib.machinery import BYTECODE_SUFFIXES, EXTENSION_SUFFIXES, SOURCE_SUFFIXES
from importlib.util import find_spec
from pathlib import Path
from warnings import catch_warnings

from raytune_infer.spec.service import OUR_PACKAGES

_SUFFIXES = (*SOURCE_SUFFIXES, *EXTENSION_SUFFIXES, *BYTECODE_SUFFIXES)
_NOT_THE_USERS = sys.stdlib_module_names | set(OUR_PACKAGES)
_INSTALLED = ("site-packages", "dist-packages")


def imported_files(module: str, folder: Path) -> dict[str, Path]:
    """Return the files of a module and of what it imports beside it, as the file's path relative to there → the file.

    Args:
        module: dotted name of a module that can be imported.
        folder: folder of the service, in which modules are looked for first. A module elsewhere has its own folder in
            place of that; of an installed package only the module itself counts. What ships with us, or with Python,
            never does: its version may change under a run.
    """
    if module.partition(".")[0] in _NOT_THE_USERS:
        return {}
    root = folder.resolve()
    todo = _files_of(module, root)
    if not todo:
        root, todo = _elsewhere(module)
    found: dict[str, Path] = {}
    while todo:
        file = todo.pop()
        name = file.relative_to(root).as_posix()
        if name not in found:
            found[name] = file
            if not set(_INSTALLED).intersection(file.parts):
                todo += _imported_by(file, root)
    return found


def _elsewhere(module: str) -> tuple[Path, list[Path]]:
    """Return the folder in which a module outside the service's folder is looked for, and its files."""
    try:
        top = find_spec(module.partition(".")[0])
    except (ImportError, ValueError):  # a module that was made at run time
        top = None
    if top is None or top.origin is None:
        return Path(), []
    file = Path(top.origin).resolve()
    root = file.parent.parent if top.submodule_search_locations else file.parent
    files = _files_of(module, root)
    return root, files[-1:] if set(_INSTALLED).intersection(file.parts) else files


def _files_of(name: str, root: Path) -> list[Path]:
    """Return the files below a folder that importing a dotted name executes: those of the packages, then the module."""
    found, at = [], root
    for part in name.split("."):
        package = _source(at / part / "__init__")
        file = package or _source(at / part)
        if file is not None:
            found.append(file)
        at = at / part
        if package is None and (file is not None or not at.is_dir()):
            break
    return found


def _source(stem: Path) -> Path | None:
    return next((file for suffix in _SUFFIXES if (file := stem.with_name(stem.name + suffix)).is_file()), None)


def _imported_by(file: Path, root: Path) -> Iterator[Path]:
    """Yield the files below a folder that a file imports anywhere in it; none if it is not Python's source."""
    if file.suffix not in SOURCE_SUFFIXES:
        return
    try:
        with catch_warnings(action="ignore"):  # Python has said them at the import
            tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, RecursionError):  # it cannot be imported either
        return
    for node in ast.walk(tree):
        for level, name in _names(node):
            if level:
                base = file.parents[level - 1] if level <= len(file.parents) else root.parent
                yield from _files_of(name, base) if base.is_relative_to(root) else ()
            elif name.partition(".")[0] not in _NOT_THE_USERS:
                yield from _files_of(name, root)


def _names(node: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield what a statement may import, each as its level (0: absolute, 1: beside, …) and its dotted name."""
    match node:
        case ast.Import():
            yield from ((0, alias.name) for alias in node.names)
        case ast.ImportFrom():
            names = [alias.name for alias in node.names if alias.name != "*"]
            yield from ((node.level, ".".join(filter(None, (node.module, name)))) for name in names or [""])
        case ast.Call(
            func=ast.Attribute(attr="import_module") | ast.Name(id="import_module"),
            args=[ast.Constant(value=str(name)), *_],
        ):
            yield 0, name
