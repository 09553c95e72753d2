"""How much of a trial's cores other processes used: whether the machine was the trial's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from raytune_infer.comparing.comparison import USUAL, Comparison
from raytune_infer.store.records import TrialRecord

NOTICEABLE = USUAL.sigma
"""Share of its cores that other processes may use while a replica still counts as alone on them.

A replica that is bound by its cores loses about the share of them that others take. So a share below the relative
standard deviation of load tests cannot be seen in their rates (benchmarks/measuring/RESULTS.md, Repeatability).
"""


def disturbed(trials: Sequence[TrialRecord]) -> Mapping[int, float]:
    """Return number of a trial → share of its cores that others used, for those trials where it is noticeable."""
    shares = {t.number: t.outcome.others_share for t in trials}
    return {number: share for number, share in shares.items() if share is not None and share >= NOTICEABLE}


def largest_spread(comparison: Comparison) -> float:
    """Return the largest difference between the shares of two measurements of one round; 0 where none are known.

    What is the same for all measurements of a round leaves their ratios as they are; a difference does not.
    """
    spreads = [0.0]
    for measured in comparison.by_round:
        shares = [share for t in measured.values() if (share := t.outcome.others_share) is not None]
        spreads += [max(shares) - min(shares)] if shares else []
    return max(spreads)
