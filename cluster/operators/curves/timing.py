"""The time of a call, measured until the interval of its mean is tight.

Calls are timed in blocks that are long against the clock's resolution and short against the time for which another
process takes a core. Other work on the machine can only make a block longer, so the mean is that of the faster half of
them: an operator's time on cores of its own is what is wanted. Its standard error is that of a trimmed mean (Tukey and
McLaughlin, Sankhya A 25, 1963), from the winsorised variance, with Student's t.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from cluster.operators.curves.point import CallTime


@dataclass(frozen=True)
class Patience:
    """When a point has been measured long enough. Our choice: on idle cores most points end by `within`.

    Args:
        within: half of the mean's 95 % interval, as a part of the mean, at which to stop.
        most_s: seconds after which to stop, whatever the interval; the block under way ends first.
        fewest: fewest blocks, also beyond `most_s`.
        block_s: seconds of a block at the least: a call is repeated within it.
        slow: part of the blocks, the slowest, that is left out.

    Raises:
        ValueError: a number is out of its range.
    """

    within: float = 0.03
    most_s: float = 0.3
    fewest: int = 8
    block_s: float = 0.0005
    slow: float = 0.5

    def __post_init__(self) -> None:
        if not (self.within > 0 and self.most_s > 0 and self.block_s > 0 and 0 <= self.slow < 1):
            raise ValueError(f"patience needs positive limits and less than all blocks left out, got {self}")
        if self.fewest * (1 - self.slow) < 2:
            raise ValueError(f"an interval needs 2 blocks or more that are not left out, got {self}")


def interval_of(blocks_s: Sequence[float], slow: float = 0.5) -> tuple[float, float, float]:
    """Returns the mean of the faster blocks and the ends of its 95 % interval.

    Args:
        blocks_s: seconds of a call, as each block has it; so many that two or more are not left out.
        slow: part of the blocks, the slowest, that is left out.
    """
    ordered = np.sort(np.asarray(blocks_s, dtype=float))
    n = ordered.size
    kept = n - int(slow * n)
    inner = ordered[:kept]
    mean = float(inner.mean())
    winsorised = np.minimum(ordered, inner[-1])
    error = float(winsorised.std(ddof=1)) / (kept / n * math.sqrt(n))
    half = float(stats.t.ppf(0.975, kept - 1)) * error
    return mean, mean - half, mean + half


def timed(run: Callable[[], object], patience: Patience, clock: Callable[[], float]) -> CallTime:
    """Calls a function until the interval of its mean time is tight, or the time is up; a first call is not counted.

    Args:
        run: makes one call, and returns when it is done.
        patience: when to stop.
        clock: clock in seconds.
    """
    run()
    began_s = clock()
    run()
    once_s = max(clock() - began_s, 1e-9)
    repeats = max(1, math.ceil(patience.block_s / once_s))
    blocks: list[float] = []
    first_s = clock()
    while True:
        began_s = clock()
        for _ in range(repeats):
            run()
        ended_s = clock()
        blocks.append(max((ended_s - began_s) / repeats, 1e-12))
        if len(blocks) < patience.fewest:
            continue
        mean_s, low_s, high_s = interval_of(blocks, patience.slow)
        if high_s - mean_s <= patience.within * mean_s or ended_s - first_s >= patience.most_s:
            return CallTime(mean_s, max(low_s, 0.0), high_s, len(blocks) * repeats)
