"""Command-line arguments of the benchmarks of searchers: the suites, the searches on each, the number of processes."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from benchmarks.recording.arguments import recording_parser_of
from benchmarks.recording.origin import ROOT
from benchmarks.search.emulated.suites import EMULATED, suite_at
from raytune_infer.suites.replays import Plan
from searchers.registry import NAMED

SUITES = (ROOT / "data", ROOT.parent / "shared" / "tables")
"""Folders in which suites are looked up by name: our own tables, and those beside the repository."""


def suite_folder(asked: str) -> Path:
    """The folder of a suite: a path, or the name of one in `SUITES` or of an emulated one, which has no folder.

    Raises:
        argparse.ArgumentTypeError: there is no such folder or suite.
    """
    found = [folder for folder in (Path(asked), *(place / asked for place in SUITES)) if folder.is_dir()]
    if not found and asked in EMULATED:
        return Path(asked)
    if not found:
        names = sorted({*EMULATED, *(file.parent.name for place in SUITES for file in place.glob("*/suite.json"))})
        raise argparse.ArgumentTypeError(
            f"no folder {asked!r} and no suite of this name; by name there are {', '.join(names) or 'none'}"
        )
    return found[0]


def searches_parser_of(module: str, text: str | None, *, suites: str = "+") -> argparse.ArgumentParser:
    """A parser of the arguments that all benchmarks of searchers have.

    Args:
        module: the benchmark's `__name__`.
        text: the benchmark's `__doc__`.
        suites: argparse's `nargs` for the suites.
    """
    parser = recording_parser_of(module, text)
    parser.add_argument(
        "suites", nargs=suites, type=suite_folder, metavar="SUITE", help="folders of tables, or names of known ones"
    )
    parser.add_argument("--budget", type=int, default=40, help="trials of a search at most")
    parser.add_argument("--seeds", type=int, default=5, help="searches per task, objective, searcher and condition")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes; by default one a core")
    return parser


def suite_parser_of(module: str, text: str | None, judged: str | None) -> argparse.ArgumentParser:
    """A parser of those arguments, the objectives, and the searchers to judge.

    Args:
        module: the benchmark's `__name__`.
        text: the benchmark's `__doc__`.
        judged: the searchers that it judges by default, in words; None if the searcher cannot be chosen.
    """
    parser = searches_parser_of(module, text)
    if judged is not None:
        whom = f"by default {judged}"
        parser.add_argument("--searchers", nargs="+", choices=sorted(NAMED), metavar="NAME", help=whom)
    parser.add_argument("--objectives", nargs="+", default=[], metavar="NAME", help="by default all of a suite's")
    return parser


def add_goal(parser: argparse.ArgumentParser) -> None:
    """Adds the argument for the goal that trials are counted to."""
    parser.add_argument("--goal", type=float, default=0.95, help="fraction of the best that trials are counted to")


def plans_of(asked: argparse.Namespace, searchers: Sequence[str]) -> list[Plan]:
    """The plans that the command line asks for, one per suite."""
    objectives = tuple(asked.objectives)
    return [
        Plan(folder, tuple(searchers), objectives, asked.budget, asked.seeds, load=suite_at) for folder in asked.suites
    ]


def settings(asked: argparse.Namespace, rows: pd.DataFrame) -> str:
    """The settings for a heading: suites, objectives, budget and seeds."""
    objectives = f", {', '.join(asked.objectives)}" if asked.objectives else ""
    suites = ", ".join(dict.fromkeys(rows["suite"]))
    return f"{suites}{objectives} (at most {asked.budget} trials, seeds: {asked.seeds})"


def link_to(drawing: Path, results: Path) -> str:
    """The relative path from a file of results to a drawing that it shows."""
    return Path(os.path.relpath(drawing, results.parent)).as_posix()
