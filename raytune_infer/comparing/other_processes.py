"""How much of a trial's cores other processes used while it needed them: whether the machine was the trial's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from raytune_infer.comparing.comparison import Comparison
from raytune_infer.store.records import TrialRecord
from serve_deployments.metrics.level_result import TOLERATED_SHARE, disturbing_share
from serve_deployments.metrics.measurement import Measurement


def disturbed(trials: Sequence[TrialRecord]) -> Mapping[int, float]:
    """Return number of a trial → share of its cores that others used, for those trials where it is noticeable."""
    shares = {t.number: t.outcome.others_share for t in trials}
    return {number: share for number, share in shares.items() if share is not None and share >= TOLERATED_SHARE}


def largest_spread(comparison: Comparison) -> float:
    """Return the largest difference between the shares of two measurements of one round; 0 where none are known.

    What is the same for all measurements of a round leaves their ratios as they are; a difference does not.
    """
    spreads = [0.0]
    for measured in comparison.by_round:
        shares = [share for t in measured.values() if (share := t.outcome.others_share) is not None]
        spreads += [max(shares) - min(shares)] if shares else []
    return max(spreads)


def least_share(shares: Iterable[float | None]) -> float | None:
    """Return the least of the shares that are known; None if none is."""
    return min((share for share in shares if share is not None), default=None)


def is_repeated(measurement: Measurement, usual_share: float | None, to_beat_rps: float | None) -> bool:
    """Whether a trial on disturbed cores is measured again: others had more than usual, and its answer could matter.

    Where others always have as much, a repetition would show the same. Where even with its cores to itself it would
    not have reached the rate to beat, it has lost either way.

    Args:
        measurement: the trial's first measurement.
        usual_share: the least share of its cores that others had in a trial of this study; None before the first one.
        to_beat_rps: rate in requests/s that it needs to become the best; None where there is no such rate.
    """
    share = disturbing_share(measurement.levels)
    if share - (usual_share or 0.0) < TOLERATED_SHARE:
        return False
    if to_beat_rps is None or not measurement.found:
        return True
    most_rps = measurement.rate_high_rps or measurement.metrics["rps"]
    return most_rps >= to_beat_rps * (1 - share)


def less_disturbed(one: Measurement, other: Measurement) -> Measurement:
    """Return the measurement in which other processes had less of the cores, whatever it found."""
    return min(one, other, key=lambda measurement: disturbing_share(measurement.levels))
