"""Texts on the samples: whether a measurement saw all of them, and how often each."""

from __future__ import annotations

from collections.abc import Sequence

from raytune_infer.store.records import TrialRecord

_MANY = 10
"""Times that a sample is sent in a level from which on that is worth a remark. Our choice."""


def sample_notes(trials: Sequence[TrialRecord]) -> list[str]:
    """Return remarks on the levels whose figures were reported: that they saw a part of the samples, or each often."""
    sent = [
        (level.completed + level.errors, level.samples)
        for t in trials
        if t.outcome.reported is not None and (level := t.outcome.levels[t.outcome.reported]).samples
    ]
    if not sent:
        return []
    many = max(samples for _, samples in sent)
    parts = [requests / samples for requests, samples in sent if requests < samples]
    most = max(requests / samples for requests, samples in sent)
    # One sentence for both: beside each other, "only a part" and "each of them often" would seem to contradict.
    said, remedies = [], []
    if parts:
        said.append(f"{len(parts)} of {len(sent)} measurements saw only a part of them, at least {min(parts):.0%}")
        remedies.append("raise load.level_min_s if samples differ much")
    if most >= _MANY:
        said.append(f"{'another' if parts else 'a'} measurement sent each of them up to {most:.0f} times")
        remedies.append("give more samples if the model caches answers, as it seems faster than it will be")
    return [f"of {many} samples: {', and '.join(said)}; {'; '.join(remedies)}"] if said else []
