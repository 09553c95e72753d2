"""Texts on trials: the state of each, and notes on their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raytune_infer.counted import by_number, numbered
from raytune_infer.report.figures import ALONE, ALONE_NOTE, EMULATED_NOTE, ESTIMATE_NOTE, cost_of, legend, rate
from raytune_infer.report.words.answers import differ_briefly
from raytune_infer.store.records import NEIGHBOURS, TrialRecord

_LIMITS = {"cores to itself": "exclusive use of its cores"}
"""Name of a limit in the database → name for people, where they differ."""

_REMARKS = frozenset({"calls at a time", "change in place"})
"""Names of what is no limit, so that its text stands for itself."""


_PRICED = {
    "anew": "recorded at the price of a part of a GPU for a part of its memory alone; its price here is that of the "
    "whole GPU, on which it could compute",
    "unknown": "recorded at the price of a part of a GPU for a part of its memory alone; that of the whole GPU is "
    "not known, as the run's price book is not the one of then: `recommend --prices BOOK` takes one",
}
"""Where a price is from, if not from the trial's record → the note on it."""


def state(trial: TrialRecord) -> str | None:
    """Return a remark of a few words on a trial; None for a complete trial of the search that counts."""
    if trial.outcome.reason is not None:
        return "breaks a limit" if trial.outcome.answered_too_differently else "could not run"
    said = [] if (how := _how_it_ended(trial)) is None else [how]
    return ", ".join([*said, ALONE] if trial.outcome.alone else said) or None


def _how_it_ended(trial: TrialRecord) -> str | None:
    if trial.value is None:
        return "breaks a limit"
    if trial.outcome.ended_early:
        return "ended early"
    return "measured again" if trial.purpose == "final" else None


def footnotes(trials: Sequence[TrialRecord]) -> list[str]:
    """Return the notes on the numbers, each once, with the trials that it applies to."""
    said: dict[str, list[int]] = {}
    for t in trials:
        notes = [f"{state(t)}: {t.outcome.reason}"] if t.outcome.reason else []
        if t.outcome.lost:
            notes.append(f"tried again: {t.outcome.lost}")
        marked = legend([rate(t), cost_of(t)])
        notes += [note for note in marked if note == ESTIMATE_NOTE]
        if not t.outcome.reason and (differ := differ_briefly(t.outcome.answers)) is not None:
            notes.append(differ)
        if t.outcome.ended_early:
            notes.append("ended early: could not beat the best at that time; the rate is an estimate")
        if t.outcome.repeated:
            notes.append("measured twice, as other processes had its cores; the less disturbed measurement counts")
        notes += [note for note in marked if note != ESTIMATE_NOTE]
        notes += [_PRICED[t.priced]] if t.priced in _PRICED else []
        if t.outcome.alone and not t.outcome.reason:
            notes.append(ALONE_NOTE)
        notes += [str(e["how"]) for e in t.outcome.enforcements if e["limit"] == NEIGHBOURS and not t.outcome.alone]
        if t.emulated:
            notes.append(EMULATED_NOTE)
        else:
            others = [e for e in t.outcome.enforcements if e["limit"] != NEIGHBOURS]
            notes += [_not_enforced(e) for e in others if not e["enforced"]]
        for note in notes:
            said.setdefault(note, []).append(t.number)
    every = len(trials)
    return [f"{'all' if len(n) == every else ', '.join(map(str, n))}: {note}" for note, n in said.items()]


_ASIDE = {
    "interrupted": "cut off as the study was interrupted: not in the table, and not counted; what the resumed search "
    "still wanted of {them} was measured anew, under other numbers",
    "superseded": "of a comparison that came before more trials were asked for: not in the table, and not counted, as "
    "all was compared anew",
}
"""Why trials do not count (`Database.set_aside`) → what is said of them."""


def set_aside(trials: Mapping[str, Sequence[int]]) -> list[str]:
    """Return a sentence for each reason for which trials that were begun do not count."""
    said = []
    for why, numbers in trials.items():
        told = _ASIDE[why].format(them=by_number(len(numbers), "it", "them"))
        said.append(f"{numbered('trial', numbers)}: {told}")
    return said


def _not_enforced(enforcement: Mapping[str, Any]) -> str:
    """Return the note on a limit that is not enforced."""
    limit, how = enforcement["limit"], enforcement["how"]
    return str(how) if limit in _REMARKS else f"{_LIMITS.get(limit, limit)} not enforced: {how}"
