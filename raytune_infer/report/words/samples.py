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
    notes = []
    if parts := [requests / samples for requests, samples in sent if requests < samples]:
        least, samples = min(parts), max(samples for _, samples in sent)
        notes.append(
            f"{len(parts)} of {len(sent)} measurements saw only a part of the {samples:,} samples, at least "
            f"{least:.0%}; raise load.level_min_s if samples differ much"
        )
    if (most := max((requests / samples for requests, samples in sent), default=0.0)) >= _MANY:
        notes.append(
            f"each of the {min(samples for _, samples in sent):,} samples was sent up to {most:,.0f} times in a "
            "measurement; a model that caches answers seems faster than it will be, so give it more samples"
        )
    return notes
