"""Rank of the search's recommendation among all configurations of a small space, each measured for real.

    python -m benchmarks rank [--spec examples/minilm-small.yaml] [--trials 6]

Measures every configuration of a small space once, on this machine, then runs the search on the same
space with few trials, and looks its recommendation up in the full table. About 12 minutes on two cores.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.recording.arguments import recording_parser_of
from benchmarks.recording.origin import ROOT, Origin
from benchmarks.recording.sections import markdown, put
from raytune_infer import Study, StudyResult, load_spec
from raytune_infer.report.figures import rate
from raytune_infer.report.view import Quantity
from raytune_infer.report.words.values import marks, spelled
from raytune_infer.store.records import TrialRecord


def by_value(result: StudyResult) -> list[TrialRecord]:
    """The trials of the search, the best first; those whose value does not count come last."""
    return sorted((t for t in result.trials if t.purpose == "search"), key=lambda t: -(t.value or 0.0))


def table(ranked: list[TrialRecord], found: StudyResult) -> str:
    """The table of results, a row per configuration, the best first."""
    tried = {t.position: t.number for t in found.trials if t.purpose == "search"}
    rows = []
    for rank, t in enumerate(ranked, start=1):
        answer = " **answer**" if t.position == found.best.position else ""
        trial = f"trial {tried[t.position]}" if t.position in tried else ""
        shown, p99 = rate(t) or Quantity(0.0), t.metrics.get("p99_ms", 0.0)
        value = t.outcome.reason or "breaks a limit" if t.value is None else f"{t.value:.0f}"
        rows.append(
            [str(rank), spelled(t.config), f"{marks(shown)}{shown.value:.1f}", f"{p99:.0f}", value, f"{trial}{answer}"]
        )
    header = ("rank", "configuration", "requests/s", "p99 ms", "value", "search tried it")
    return markdown(header, rows, text=(1, 5))


def body(everything: StudyResult, found: StudyResult, trials: int) -> str:
    """The text of the section of results.

    Args:
        everything: result of the study that measured all configurations.
        found: result of the search.
        trials: trials of the search.
    """
    ranked = by_value(everything)
    answer = next(rank for rank, t in enumerate(ranked, start=1) if t.position == found.best.position)
    share = (ranked[answer - 1].value or 0.0) / (ranked[0].value or 1.0)
    text = (
        f"Nothing emulated. The search's answer after {trials} trials ranks **{answer} of {len(ranked)}**; measured "
        f"exhaustively it has {share:.0%} of the best value. "
        + (f"Its {found.objective.goal.text} is {found.ratio:.2f}× that of the default, " if found.ratio else "")
        + "both measured again at the end."
    )
    return f"{text}\n\n{table(ranked, found)}"


def main(arguments: Sequence[str]) -> None:
    parser = recording_parser_of(__name__, __doc__)
    parser.add_argument("--spec", type=Path, default=ROOT / "examples" / "minilm-small.yaml")
    parser.add_argument("--trials", type=int, default=6)
    asked = parser.parse_args(arguments)
    spec = load_spec(asked.spec)
    with tempfile.TemporaryDirectory() as folder:
        everything = Study(spec, searcher="random", out=Path(folder) / "all", history=False).run(10**6)
        found = Study(spec, out=Path(folder) / "search", history=False).run(asked.trials)
    text = body(everything, found, asked.trials)
    print(text)
    put(asked.out, f"Where the search's answer ranks: {spec.name}", Origin.here(__name__, arguments), text)
