"""The origin of figures: machine, command, date and revision, so that each figure can be reproduced."""

from __future__ import annotations

import datetime as dt
import os
import platform
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from raytune_infer.store.made_on import processor

ROOT = Path(__file__).resolve().parent.parent.parent
"""The repository's root, from which benchmarks are run."""


@dataclass(frozen=True)
class Origin:
    """The origin of figures.

    Args:
        machine: the CPU's name, its number of cores, and Python's version.
        command: the command as it was given, to be run from the repository's root.
        date: date in ISO 8601.
        revision: commit of the code, with a note if there are uncommitted changes.
    """

    machine: str
    command: str
    date: str
    revision: str

    @classmethod
    def here(cls, module: str, arguments: Sequence[str]) -> Origin:
        """The origin of figures made now, on this machine and with the code as it is.

        Args:
            module: the benchmark's `__name__`.
            arguments: its arguments as they were given.
        """
        return cls(_machine(), command_of(module, arguments), dt.date.today().isoformat(), _revision())

    def line(self) -> str:
        """The origin as a line of Markdown for a section."""
        return f"`{self.command}`, {self.date}, revision {self.revision}, {self.machine}."


def command_of(module: str, arguments: Sequence[str] = ()) -> str:
    """The command that runs a benchmark; paths are relative to the root, those elsewhere cut to their last part."""
    name = module.rpartition(".")[2]
    return shlex.join(["python", "-m", "benchmarks", name, *(_from_root(argument) for argument in arguments)])


def _from_root(argument: str) -> str:
    path = Path(argument)
    if not path.is_absolute() and not path.exists():
        return argument
    shown = os.path.relpath(path.resolve(), ROOT)
    # Paths beside the repository stay relative to it; other paths of this machine would mean nothing to others.
    return shown if shown.count("..") <= 1 else path.name


def _machine() -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{processor()}, {cores} cores, Python {platform.python_version()}"


def _revision() -> str:
    """The commit, with a note if there are uncommitted changes; results and drawings are not changes of the code."""
    aside = (":!benchmarks/*/RESULTS.md", ":!docs/images")
    commit = _git("rev-parse", "--short", "HEAD")
    if commit is None:
        return "unknown"
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", *aside)
    return f"{commit} with changes" if changed else commit


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
