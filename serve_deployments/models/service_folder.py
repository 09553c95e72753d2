"""The folder of a service: relative paths of a model's code and arguments start there, and modules in it are found.

A replica enters the folder for good. A process that only looks at a builder, such as the one that runs a study, enters
it for the time of an import: afterwards its working folder, its search path and its modules are as before, so that the
next service may have other modules of the same names.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

_OUR_FOLDER = Path(__file__).resolve().parents[2]
"""Where our packages are; a service that lies among them shares its modules with us."""
_imported: dict[str, dict[str, ModuleType]] = {}
"""Folder → its modules that were imported; imported twice, some would register twice what may exist only once."""


def enter(folder: str, *, modules: bool) -> None:
    """Make a folder this process's working folder, for good.

    A folder that is not on this machine is left alone: the model may need nothing of it.

    Args:
        folder: the folder; empty for the present one.
        modules: whether it becomes the first in which modules are looked for, as a builder's must be; for a model that
            is only read, a file there with the name of a library would run in its place.
    """
    if folder and os.path.isdir(folder):
        os.chdir(folder)
    if modules and (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)


def module_file(name: str, folder: str) -> str | None:
    """The file of a module that is looked for in a folder first; nothing is imported, neither it nor its packages.

    Args:
        name: dotted name of the module.
        folder: see `inside`.

    Returns:
        The file, or words for it where it has none (`built-in`); None if there is no such module.
    """
    top, *inner = name.split(".")
    importlib.invalidate_caches()  # the folder may be younger than the last look into it
    try:
        found = (PathFinder.find_spec(top, [folder]) if folder else None) or find_spec(top)
    except (ImportError, ValueError):  # a module that was made at run time
        return None
    for part in inner:
        if found is None or found.submodule_search_locations is None:
            return None
        # Under its last name alone: a finder would ask for the package of a dotted one, which is not imported.
        found = PathFinder.find_spec(part, list(found.submodule_search_locations))
    return None if found is None else found.origin or "a folder without __init__.py"


@contextmanager
def inside(folder: str) -> Iterator[None]:
    """Enter a folder inside the context, and find its own modules under their names; afterwards all is as before.

    Args:
        folder: the folder; empty for none.
    """
    if not folder:
        yield
        return
    with _working_in(folder), _modules_of(folder):
        yield


@contextmanager
def _working_in(folder: str) -> Iterator[None]:
    """Make a folder the working folder inside the context."""
    before = None
    with suppress(OSError):  # the present one has been removed
        before = os.getcwd()
    with suppress(OSError):  # the folder has
        os.chdir(folder)
    try:
        yield
    finally:
        if before is not None:
            os.chdir(before)


@contextmanager
def _modules_of(folder: str) -> Iterator[None]:
    """Find modules in a folder first inside the context; what was imported from it is forgotten afterwards."""
    root = Path(folder).resolve()
    tops = _top_level(root)
    # Other modules of these names, from another service or the user's own, are put aside.
    aside = _named(top for top in tops if top in sys.modules and not _stands_in(root, sys.modules[top]))
    for name in aside:
        del sys.modules[name]
    before, path = set(sys.modules), list(sys.path)
    sys.modules.update(_imported.get(folder, {}))
    sys.path.insert(0, folder)
    importlib.invalidate_caches()  # the folder may be younger than the last look into it
    try:
        yield
    finally:
        sys.path[:] = path
        new = {name: module for name, module in _named(tops).items() if name not in before}
        for name in new:
            del sys.modules[name]
        _imported[folder] = new
        sys.modules.update(aside)


def _top_level(root: Path) -> frozenset[str]:
    """Return the names of the modules and packages that stand in a folder and are not the standard library's."""
    if root == _OUR_FOLDER:
        return frozenset()
    try:
        entries = list(root.iterdir())
    except OSError:
        return frozenset()
    names = {entry.stem for entry in entries if entry.suffix == ".py"}
    names |= {entry.name for entry in entries if (entry / "__init__.py").is_file() or entry.name not in sys.modules}
    return frozenset(name for name in names if not name.startswith("__")) - sys.stdlib_module_names


def _named(tops: Iterable[str]) -> dict[str, ModuleType]:
    """Return the imported modules of these top-level names, with their submodules."""
    wanted = frozenset(tops)
    return {name: module for name, module in sys.modules.items() if name.partition(".")[0] in wanted}


def _stands_in(root: Path, module: ModuleType) -> bool:
    """Whether a top-level module or package stands in a folder."""
    paths = [Path(path) for path in getattr(module, "__path__", ())]  # a package's
    if not paths and (file := getattr(module, "__file__", None)):
        paths = [Path(file)]
    return any(path.resolve().parent == root for path in paths)
