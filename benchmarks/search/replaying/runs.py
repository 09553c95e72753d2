"""Results of replayed searches as files, so that what was done at a revision is not done again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pandas as pd
import torch

from benchmarks.recording.origin import ROOT, Origin
from benchmarks.search.replaying.found import KEYS, Found, found_by
from benchmarks.search.replaying.seeds import seeds_of
from raytune_infer.suites.replays import COLUMNS, Plan, run
from raytune_infer.suites.suites import Suite
from raytune_infer.suites.workers import WorkerDied

RUNS = ROOT / "runs" / "search"
"""Folder of all trials, which git ignores."""


@dataclass(frozen=True)
class Run:
    """The results of replayed searches.

    Args:
        heading: heading of their section.
        origin: where the figures come from.
        rows: one row per trial, in the columns of `raytune_infer.suites.replays`.
        budget: most trials of a search; one that found the best before has fewer rows.
        notes: remarks that the figures do not show.
    """

    heading: str
    origin: Origin
    rows: pd.DataFrame
    budget: int
    notes: tuple[str, ...] = ()

    def save(self, file: Path) -> None:
        """Writes the rows, and the other fields into a JSON file beside them."""
        file.parent.mkdir(parents=True, exist_ok=True)
        self.rows.to_csv(file, index=False)
        about = {"heading": self.heading, "origin": asdict(self.origin), "budget": self.budget, "notes": self.notes}
        file.with_suffix(".json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, file: Path) -> Run:
        """Reads what `save` wrote."""
        about = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
        rows = pd.read_csv(file, dtype=dict.fromkeys(KEYS[:-1], str), keep_default_na=False)
        return cls(about["heading"], Origin(**about["origin"]), rows, int(about["budget"]), tuple(about["notes"]))

    def found(self) -> dict[str, dict[str, Found]]:
        """Suite → searcher → what it found."""
        return {suite: found_by(rows, budget=self.budget) for suite, rows in self.suites()}

    def suites(self) -> Iterator[tuple[str, pd.DataFrame]]:
        """The rows of each suite."""
        yield from ((str(name), rows) for name, rows in self.rows.groupby("suite", sort=False))


def searched(
    plan: Plan, suite: Suite, jobs: int, revision: str
) -> tuple[pd.DataFrame, list[str], KeyboardInterrupt | WorkerDied | None]:
    """The trials of one searcher on a suite, from a file if they were done at this revision.

    Args:
        plan: the searches of one searcher, already checked; it has one seed if another is the same search.
        suite: the plan's suite.
        jobs: number of processes.
        revision: the code's; nothing is kept of code with changes, as nobody knows which.

    Returns:
        The rows of the trials, notes, and what stopped them early; what was stopped is not kept.
    """
    [name] = plan.searchers
    settings = (suite.name, name, plan.sources, plan.budget, plan.seeds, plan.parallel)
    file = RUNS / "by-searcher" / revision / ("-".join(map(str, settings)) + ".csv")
    committed = revision != "unknown" and not revision.endswith("with changes")
    if committed and file.exists():
        print(f"{suite.name}: {name}, done before at this revision", flush=True)
        found = pd.read_csv(file, dtype=dict.fromkeys(KEYS[:-1], str), keep_default_na=False)
        return found, json.loads(file.with_suffix(".json").read_text(encoding="utf-8")), None
    torch.set_num_threads(1)
    plan = replace(plan, seeds=seeds_of(plan, name, suite))
    print(f"{suite.name}: {name}, seeds: {plan.seeds}", flush=True)
    results = run(plan, suite, jobs=jobs)
    rows = results.frame() if results.searches else pd.DataFrame(columns=list(COLUMNS))
    if committed and results.stopped is None and results.searches:
        file.parent.mkdir(parents=True, exist_ok=True)
        # The trials last: they are there only if all of it is.
        file.with_suffix(".json").write_text(json.dumps(results.notes()), encoding="utf-8")
        rows.to_csv(file, index=False)
    return rows, results.notes(), results.stopped
