"""Number of trials that searchers need, side by side on suites of measured tables.

    python -m benchmarks search SUITE... [--searchers NAME...] [--budget 40] [--seeds 5] [--curves SVG]
    python -m benchmarks search --from runs/search/NAME/results.csv --curves SVG

Searchers run one after another in the same number of processes, so that their seconds can be compared. All trials are
saved in runs/search/NAME/results.csv after each searcher; the second command makes table and curves from that file.
A searcher for which another seed is the same search gets one seed. A search ends when it has found the best. What a
searcher did on a suite is not done again at the same revision.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pandas as pd

from benchmarks.recording.origin import Origin
from benchmarks.recording.sections import markdown, put
from benchmarks.search.emulated.suites import suite_at
from benchmarks.search.replaying.drawings import regret
from benchmarks.search.replaying.found import GOALS, REGRETS, Found, found_by, ratio
from benchmarks.search.replaying.runs import RUNS, Run, searched
from benchmarks.search.replaying.suite_arguments import add_goal, link_to, searches_parser_of
from raytune_infer.suites.histories import SEARCHED_BY, TRIALS, Sources
from raytune_infer.suites.replays import Plan
from searchers.registry import DEFAULT, LEARNS, NAMED

LEARNED: Mapping[Sources, str] = {
    "histories": f"of each other task, {TRIALS} trials by {' or '.join(SEARCHED_BY)}",
    "none": "nothing learned from other tasks",
}
"""What a heading says of the sources that are not whole tables."""


def replayed(asked: argparse.Namespace, origin: Origin) -> Iterator[Run]:
    """Runs the searches; yields all done so far whenever a searcher has finished a suite."""
    suites = {folder: suite_at(folder) for folder in asked.suites}
    names = tuple(dict.fromkeys(asked.searchers or by_default(asked.sources)))
    plans = {
        (folder, name): Plan(
            folder, (name,), (), asked.budget, asked.seeds, asked.parallel, asked.sources, None, True, suite_at
        ).checked(suite)
        for folder, suite in suites.items()
        for name in names
    }
    text = heading([suite.name for suite in suites.values()], asked)
    parts: list[pd.DataFrame] = []
    notes: dict[str, None] = {}
    for (folder, name), plan in plans.items():
        # Under whatever sources, who learns of none is the same.
        plan = plan if name in LEARNS else replace(plan, sources="none")
        rows, said, stopped = searched(plan, suites[folder], asked.jobs, origin.revision)
        parts += [rows] if len(rows) else []
        notes |= {f"{name}: {note}" if stopped is not None else note: None for note in said}
        if parts:
            yield Run(text, origin, pd.concat(parts, ignore_index=True), asked.budget, tuple(notes))
        if isinstance(stopped, KeyboardInterrupt):
            return


def by_default(sources: Sources) -> list[str]:
    """All searchers; where nothing can be learned, the default and those that never learn from others."""
    return sorted(set(NAMED) - LEARNS | {DEFAULT} if sources == "none" else NAMED)


def heading(suites: list[str], asked: argparse.Namespace) -> str:
    """The section's heading, with all settings, so that runs of other settings get sections of their own."""
    settings = [f"at most {asked.budget} trials, seeds: {asked.seeds}"]
    settings += [LEARNED[asked.sources]] if asked.sources in LEARNED else []
    settings += [f"{asked.parallel} trials at a time"] if asked.parallel > 1 else []
    return f"Trials of a search: {', '.join(suites)} ({'; '.join(settings)})"


def body(run: Run, goal: float, curves: str | None) -> str:
    """The text of the section of results: for each suite all objectives together, then each by itself."""
    parts = [
        f"Trials until {_goals(goal)} of the best value; `–` is not found within the budget. A mean, to "
        f"{100 * goal:g} %, counts those as the budget. × is mean trials as a multiple of those of `{DEFAULT}`, with "
        "the 95 % interval of a bootstrap over groups. Regret: by what fraction of the best value the best found falls "
        "short, on average. One seed where another is the same search. Seconds are of one suggestion, learning from "
        "other tasks included; a search ends when it has found the best."
    ]
    for suite, rows in run.suites():
        parts += [f"### {suite}", table(rows, goal, run.budget)]
        if rows["objective"].nunique() > 1:
            parts.append(by_objective(rows, goal, run.budget))
    parts += [f"- {note}" for note in run.notes]
    parts += [f"![Best found against trials]({curves})"] if curves else []
    return "\n\n".join(parts)


def _goals(goal: float) -> str:
    return " and ".join(f"{100 * each:g} %" for each in dict.fromkeys((goal, *GOALS)))


def table(rows: pd.DataFrame, goal: float, budget: int) -> str:
    """The table of one suite, a row per searcher."""
    found = found_by(rows, budget=budget)
    seconds = rows.groupby("searcher")["suggest_s"].mean()
    others = [each for each in GOALS if each != goal]
    counts = [f"{100 * each:g} %: median / p90 / worst" for each in (goal, *others)]
    header = ["searcher", "seeds", "searches", counts[0], "not found", "mean", f"× {DEFAULT}"]
    header += [column for count in counts[1:] for column in (count, "not found")]
    header += [*(f"regret after {trials}" for trials in REGRETS), "s a suggestion"]
    lines = []
    for name, mine in found.items():
        multiple = ratio(mine, found[DEFAULT], goal) if DEFAULT in found and name != DEFAULT else None
        cells = [str(mine.seeds), str(len(mine.labels)), *mine.cells(goal), "" if multiple is None else str(multiple)]
        cells += [cell for each in others for cell in mine.cells(each)[:2]]
        lines.append([name, *cells, *map(mine.regret, REGRETS), f"{seconds[name]:.3f}"])
    return markdown(header, lines)


def by_objective(rows: pd.DataFrame, goal: float, budget: int) -> str:
    """The table of one suite, a row per searcher and a column per objective."""
    apart = {str(name): found_by(part, budget=budget) for name, part in rows.groupby("objective", sort=False)}
    names = list(dict.fromkeys(rows["searcher"]))
    lines = [[name, *(_short(found.get(name), goal) for found in apart.values())] for name in names]
    return markdown(("median / p90 / worst (not found)", *apart), lines)


def _short(found: Found | None, goal: float) -> str:
    if found is None:
        return ""
    trials, missed, _ = found.cells(goal)
    return f"{trials} ({missed})"


def show(run: Run, asked: argparse.Namespace) -> None:
    """Writes the section, and the curves where they are asked for."""
    link = None
    if asked.curves:
        regret(asked.curves, run.found(), DEFAULT)
        link = link_to(asked.curves, asked.out)
    put(asked.out, run.heading, run.origin, body(run, asked.goal, link))


def main(arguments: Sequence[str]) -> None:
    parser = searches_parser_of(__name__, __doc__, suites="*")
    whom = "by default all; without sources, the default and those that never learn"
    parser.add_argument("--searchers", nargs="+", metavar="NAME", help=whom)
    learned = "what may be learned of other tasks: their tables, what a study of each tried, or nothing"
    parser.add_argument("--sources", choices=get_args(Sources), default="tables", help=learned)
    parser.add_argument("--parallel", type=int, default=1, metavar="Q", help="trials that run at a time")
    add_goal(parser)
    parser.add_argument("--curves", type=Path, metavar="SVG", help="also draw what was found against trials")
    parser.add_argument("--from", type=Path, dest="done", metavar="CSV", help="show searches that were done before")
    parser.add_argument("--keep", type=Path, help="file of all trials; by default in runs/search")
    asked = parser.parse_args(arguments)
    if bool(asked.suites) == bool(asked.done):
        parser.error("name either folders of suites to search, or --from a file of searches that were done")
    if asked.done:
        show(Run.load(asked.done), asked)
        return
    run = None
    for run in replayed(asked, Origin.here(__name__, arguments)):
        run.save(kept := asked.keep or RUNS / _folder(run.heading) / "results.csv")
    if run is None:
        raise SystemExit("no search was done")
    show(run, asked)
    print(f"{asked.out}: {run.heading}\neach trial in {kept}")


def _folder(heading: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in heading.split(":", 1)[1].strip().lower())
