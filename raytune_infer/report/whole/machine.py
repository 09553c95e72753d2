"""What was enforced, what was emulated, and what else the machine did while it was measured."""

from __future__ import annotations

from collections.abc import Sequence

from raytune_infer.comparing.other_processes import disturbed
from raytune_infer.report.figures import EMULATED_NOTE
from raytune_infer.report.view import Column, Note, Row, Table, View
from raytune_infer.report.whole.run_facts import RunFacts
from raytune_infer.report.words.verdict import on_other_work
from raytune_infer.store.records import TrialRecord

_TITLE = "What the numbers rest on"


def machine_view(facts: RunFacts) -> View:
    """Return the limits with how each was enforced, and notes on emulation and other processes."""
    trials = facts.trials
    notes = [*_emulated(trials), *_others(facts)]
    hosts = sorted({t.outcome.hostname for t in trials if t.outcome.hostname is not None})
    if hosts:
        notes.append(Note(f"Measured on {', '.join(hosts)}."))
    tables = [*_made_on(facts), *([table] if (table := _limits(trials)).rows else [])]
    return View(_TITLE, tables=tuple(tables), notes=tuple(notes))


def _made_on(facts: RunFacts) -> list[Table]:
    """Return the driver's machine and the versions: a column each time that they were others; none if not kept."""
    on = facts.run.made_on
    if not on:
        return []
    names = list(dict.fromkeys(name for each in on for name in each))
    heads = (
        ("the driver ran on",) if len(on) == 1 else tuple(f"the driver ran on ({at})" for at in range(1, len(on) + 1))
    )
    columns = (Column("what", kind="text"), *(Column(name, name, kind="text") for name in names))
    rows = tuple(Row((head, *map(each.get, names))) for head, each in zip(heads, on, strict=True))
    return [Table("made_on", columns, rows, "Machine and versions", layout="columns")]


def _emulated(trials: Sequence[TrialRecord]) -> list[Note]:
    numbers = [t.number for t in trials if t.emulated]
    if not numbers:
        return [Note("Nothing was emulated.")] if trials else []
    which = "All trials" if len(numbers) == len(trials) else f"Trials {', '.join(map(str, numbers))}"
    return [Note(f"{which} were {EMULATED_NOTE}.", "warning")]


def _others(facts: RunFacts) -> list[Note]:
    if (told := on_other_work(facts.comparison)) is not None:
        return [Note(told, "warning")]
    shares = disturbed(facts.trials)
    if shares:
        said = ", ".join(f"{number} ({share:.0%})" for number, share in shares.items())
        return [Note(f"Other processes used cores of these trials: {said}.", "warning")]
    if any(t.outcome.others_share is not None for t in facts.trials):
        return [Note("No other process noticeably used the cores of a trial.")]
    # Of emulated devices alone nothing ran whose cores others could have used.
    real = any(not t.emulated for t in facts.trials)
    return [Note("It was not counted what other processes used.")] if real else []


def _limits(trials: Sequence[TrialRecord]) -> Table:
    """Return how each limit was held, each way once, with the number of trials."""
    ways: dict[tuple[str, bool, str], list[int]] = {}
    for t in trials:
        for each in t.outcome.enforcements:
            key = str(each["limit"]), bool(each["enforced"]), str(each["how"])
            ways.setdefault(key, []).append(t.number)
    columns = (
        Column("limit", "limit", kind="text", key=True), Column("enforced", "enforced", kind="text"),
        Column("how", "how, or why not", kind="text"), Column("trials", "trials", digits="d"),
    )  # fmt: skip
    rows = [
        Row((limit, "yes" if enforced else "no", how, len(numbers)), "" if enforced else "doubtful")
        for (limit, enforced, how), numbers in ways.items()
    ]
    return Table("enforcement", columns, tuple(rows), "Limits of the replicas")
