"""The runtime environment of a study's workers: where they find the modules that we have, here or on other machines."""

from __future__ import annotations

import os
import site
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.machinery import all_suffixes
from pathlib import Path
from typing import Any

from cluster.starting.sent_folder import sent_folder
from raytune_infer.errors import UserError
from raytune_infer.spec.service import OUR_PACKAGES

JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Environment variable that `ray job submit` sets in a job's driver, whose working folder is the one that was sent."""
SENT_BELOW = "service"
"""Name of the folder, within what is sent to other machines, in which a service without code of its own is: Ray has the
workers look for modules in the folder around it, where there are none."""


def local_environment(folder: Path, runs_code: bool) -> dict[str, Any]:
    """Return the runtime environment in which workers on this machine find the same modules as we do.

    Where the service has no code of its own, modules of the same names as libraries' beside service.yaml, or where the
    command is run, must not be imported in their place.
    """
    ours = Path(import_module(OUR_PACKAGES[0]).__path__[0]).parent
    paths = [str(folder), os.getcwd()] if runs_code else [] if _is_installed(ours) else [str(ours)]
    paths += filter(None, [os.environ.get("PYTHONPATH")])
    return {"env_vars": {"PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}} if paths else {}


def _is_installed(folder: Path) -> bool:
    """Whether every Python finds modules of this folder, and after the standard library's."""
    return str(folder) in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), site.getusersitepackages())


@contextmanager
def shipped_environment(folder: Path, runs_code: bool, modules: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the runtime environment that ships our packages and the folder of service.yaml to other machines."""
    if JOB_VARIABLE in os.environ:
        yield {}  # `ray job submit` has set an environment already; a second one would conflict with it.
        return
    with sent_folder(folder, below="" if runs_code else SENT_BELOW) as sent:
        for module in modules:
            _refuse_unsent(module, folder, sent)
        yield {"py_modules": [str(Path(import_module(p).__path__[0])) for p in OUR_PACKAGES], "working_dir": str(sent)}


def _refuse_unsent(module: str, folder: Path, sent: Path) -> None:
    """Raise UserError if a module is in a folder but not in what is sent of it."""
    stem = module.replace(".", os.sep)
    files = [f"{stem}{ending}" for suffix in all_suffixes() for ending in (f"{os.sep}__init__{suffix}", suffix)]
    here = [folder / file for file in files if (folder / file).is_file()]
    if here and not any((sent / file).is_file() for file in files):
        raise UserError(
            f"{here[0]} is not sent to the nodes of the cluster, as a .gitignore or .git/info/exclude in or around its "
            "folder or git's core.excludesFile names it, or its name is a usual one of secrets; take it out there, or "
            "rename it"
        )
