"""The rounds of the final comparison, found again in the order of its trials."""

from __future__ import annotations

from collections.abc import Sequence

from raytune_infer.store.records import TrialRecord

Round = dict[int, TrialRecord]
"""Position of a configuration → its trial in one round."""


def in_rounds(trials: Sequence[TrialRecord]) -> tuple[Round, ...]:
    """Group the trials of the comparison into rounds.

    A round is a sequence of trials with consecutive numbers in which no configuration occurs twice, so rounds need not
    be stored. Numbers are missing where a run was killed: trials before them were not measured side by side with those
    after them, so the round ends there. One that was cut off is measured anew, and its trials are not among these; only
    runs of earlier versions kept them, as a round that lacks some cells.
    """
    rounds: list[Round] = []
    before = None
    for trial in sorted((t for t in trials if t.purpose == "final"), key=lambda t: t.number):
        if before is None or trial.number != before + 1 or trial.position in rounds[-1]:
            rounds.append({})
        rounds[-1][trial.position] = trial
        before = trial.number
    return tuple(rounds)
