"""What is said of trials: what became of each, and what to know beside their numbers."""

from __future__ import annotations

from collections.abc import Sequence

from raytune_infer.report.figures import EMULATED_NOTE, ESTIMATE_NOTE
from raytune_infer.store.records import TrialRecord


def state(trial: TrialRecord) -> str | None:
    """What became of it in two words; None of one that counts, in the search."""
    if trial.outcome.reason is not None:
        return "could not run"
    if trial.value is None:
        return "breaks a limit"
    if trial.outcome.ended_early:
        return "ended early"
    return "measured again" if trial.purpose == "final" else None


def footnotes(trials: Sequence[TrialRecord]) -> list[str]:
    """What to know beside the numbers: each thing once, with the trials that it is true of."""
    said: dict[str, list[int]] = {}
    for t in trials:
        notes = [f"could not run: {t.outcome.reason}"] if t.outcome.reason else []
        if t.outcome.lost:
            notes.append(f"tried again: {t.outcome.lost}")
        if not t.outcome.steady:
            notes.append(ESTIMATE_NOTE)
        if t.outcome.ended_early:
            notes.append("ended early: cannot beat the best of then; the rate is an estimate")
        if t.outcome.client_limited:
            notes.append("≥: the load side was the bottleneck, the replica can do more")
        if t.emulated:
            notes.append(EMULATED_NOTE)
        else:
            told = t.outcome.enforcements
            notes += [f"{e['limit']} not enforced: {e['how']}" for e in told if not e["enforced"]]
        for note in notes:
            said.setdefault(note, []).append(t.number)
    every = len(trials)
    return [f"{'all' if len(n) == every else ', '.join(map(str, n))}: {note}" for note, n in said.items()]
