"""Where the search's answer ranks among all configurations, each measured for real.

    python benchmarks/rank.py [--spec examples/minilm-small.yaml] [--trials 6] [--out docs/rank.md]

Measures every configuration of a small space once, on this machine, then lets the search loose on the same
space with few trials, and looks its answer up in the exhaustive table. About 12 minutes on two cores.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import platform
import tempfile
from pathlib import Path

from raytune_infer import Study, StudyResult, load_spec
from raytune_infer.report.figures import marks, spelled
from raytune_infer.store.records import TrialRecord


def by_value(result: StudyResult) -> list[TrialRecord]:
    """The search's trials, the best first; those that do not count come last."""
    return sorted((t for t in result.trials if t.purpose == "search"), key=lambda t: -(t.value or 0.0))


def table(ranked: list[TrialRecord], found: StudyResult) -> list[str]:
    tried = {t.position: t.number for t in found.trials if t.purpose == "search"}
    lines = ["| rank | configuration | requests/s | p99 ms | value | search tried it |", "|--:|:--|--:|--:|--:|:--|"]
    for rank, t in enumerate(ranked, start=1):
        answer = " **answer**" if t.position == found.best.position else ""
        trial = f"trial {tried[t.position]}" if t.position in tried else ""
        rate, p99 = t.metrics.get("rps", 0.0), t.metrics.get("p99_ms", 0.0)
        value = t.outcome.reason or "breaks a limit" if t.value is None else f"{t.value:.0f}"
        lines.append(f"| {rank} | {spelled(t.config)} | {marks(t)}{rate:.1f} | {p99:.0f} | {value} | {trial}{answer} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spec", type=Path, default=Path("examples/minilm-small.yaml"))
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    spec = load_spec(arguments.spec)
    with tempfile.TemporaryDirectory() as folder:
        everything = Study(spec, searcher="random", out=Path(folder) / "all", history=False).run(10**6)
        found = Study(spec, out=Path(folder) / "search", history=False).run(arguments.trials)
    ranked = by_value(everything)
    answer = next(rank for rank, t in enumerate(ranked, start=1) if t.position == found.best.position)
    share = (ranked[answer - 1].value or 0.0) / (ranked[0].value or 1.0)
    head = [
        "# Where the search's answer ranks",
        "",
        f"`python benchmarks/rank.py --spec {arguments.spec} --trials {arguments.trials}`, {dt.date.today()}, "
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}. Nothing emulated.",
        "",
        f"The search's answer after {arguments.trials} trials ranks **{answer} of {len(ranked)}**; measured "
        f"exhaustively it has {share:.0%} of the best value. "
        + (f"Its {found.objective.goal.text} is {found.ratio:.2f}× that of the default, " if found.ratio else "")
        + "both measured again at the end.",
        "",
    ]
    text = "\n".join([*head, *table(ranked, found), ""])
    print(text)
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
