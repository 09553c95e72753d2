"""Texts on the samples: whether a measurement saw all of them, and how often each."""

from __future__ import annotations

from collections.abc import Sequence

from raytune_infer.counted import counted
from raytune_infer.store.records import TrialRecord
from serve_deployments.metrics.level_result import LevelResult

_MANY = 10
"""Times that a sample is sent in a level from which on that is worth a remark. Our choice."""

_FEWEST = 100
"""Number of requests below which a p99 is only their slowest."""


def sample_notes(trials: Sequence[TrialRecord]) -> list[str]:
    """Return remarks on the levels whose figures were reported: on their requests, and on the samples of these."""
    levels = [t.outcome.levels[t.outcome.reported] for t in trials if t.outcome.reported is not None]
    told = [level for level in levels if level.samples]
    sent = [(level.completed + level.errors, level.samples or 0) for level in told]
    return [*_failing(told), *_few(sent), *_rounds(sent)]


def _few(sent: Sequence[tuple[int, int]]) -> list[str]:
    """Return a remark on measurements of too few requests for a p99."""
    few = [requests for requests, _ in sent if requests < _FEWEST]
    if not few:
        return []
    which = f"{len(few)} of {counted(len(sent), 'measurement')}"
    return [
        f"the latencies of {which} are of fewer than {_FEWEST} requests, at least {min(few)}: a p99 of so few is only "
        "the slowest; raise load.level_min_s or load.total_max_s"
    ]


def _rounds(sent: Sequence[tuple[int, int]]) -> list[str]:
    """Return a remark on measurements that saw a part of the samples, or each of them often."""
    if not sent:
        return []
    many = max(samples for _, samples in sent)
    parts = [requests / samples for requests, samples in sent if requests < samples]
    most = max(requests / samples for requests, samples in sent)
    # One sentence for both: beside each other, "only a part" and "each of them often" would seem to contradict.
    said, remedies = [], []
    if parts:
        said.append(
            f"{len(parts)} of {counted(len(sent), 'measurement')} saw only a part of them, at least {min(parts):.0%}"
        )
        remedies.append("raise load.level_min_s if samples differ much")
    if most >= _MANY:
        said.append(f"{'another' if parts else 'a'} measurement sent each of them up to {most:.0f} times")
        remedies.append("give more samples if the model caches answers, as it seems faster than it will be")
    return [f"of {counted(many, 'sample')}: {', and '.join(said)}; {'; '.join(remedies)}"] if said else []


def _failing(levels: Sequence[LevelResult]) -> list[str]:
    """Return a remark on the samples that failed in every one of these levels; none if there are no such samples."""
    always = set.intersection(*(set(dict(level.failed_samples)) for level in levels)) if len(levels) > 1 else set()
    if not always:
        return []
    first = min(always)
    error, samples = dict(levels[0].failed_samples)[first], max(level.samples or 0 for level in levels)
    are = "samples always fails" if len(always) == 1 else "samples always fail"
    which = ", ".join(str(place + 1) for place in sorted(always))
    return [f"{len(always)} of {samples:,} {are}: number {which} ({error}); correct or remove what should not be sent"]
