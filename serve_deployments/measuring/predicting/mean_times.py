"""The mean time of a batch of each size, estimated from few batches.

With as many means as sizes, each of which has few batches, chance would pass for knowledge: the one batch of a size
would be exactly as long as expected. So the means of the sizes are drawn towards the straight line through all batches,
the more, the less they differ from it by more than chance explains: an empirical Bayes estimate (Efron and Morris,
Journal of the American Statistical Association 68, 1973), with the variance between sizes by the method of moments
(DerSimonian and Laird, Controlled Clinical Trials 7, 1986).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_LEAST_S = 1e-9  # a batch takes some time


@dataclass(frozen=True)
class MeanTimes:
    """Mean times of batches by size.

    Args:
        seconds: `[b]` of a batch of 1, 2, … b requests.
        fitted: number of parameters that they rest on: between those of a line and one for each size.
    """

    seconds: np.ndarray
    fitted: float

    @classmethod
    def of(cls, sizes: np.ndarray, took_s: np.ndarray, largest: int) -> MeanTimes:
        """The mean times of all sizes up to the largest, or to the largest of these batches if that is larger.

        Those of sizes without a batch are interpolated; beyond the largest of a batch they follow the line.

        Args:
            sizes: `[n]` numbers of requests in batches.
            took_s: `[n]` seconds that these took.
            largest: largest size of interest.
        """
        counts = np.bincount(sizes)
        had = np.flatnonzero(counts)
        counts, seen_s = counts[had], np.bincount(sizes, took_s)[had] / counts[had]
        every = np.arange(1, max(largest, had[-1]) + 1)
        if had.size == 1:
            return cls(np.maximum(np.full(every.size, seen_s[0]), _LEAST_S), 1.0)
        slope_s, start_s = np.polyfit(had, seen_s, 1, w=np.sqrt(counts))
        line_s = np.maximum(start_s + slope_s * every, _LEAST_S)
        off = seen_s / line_s[had - 1] - 1
        within = float(np.sum((took_s / seen_s[np.searchsorted(had, sizes)] - 1) ** 2))
        weight = _weights(off, counts, within)
        means_s = line_s[had - 1] * (1 + weight * off)
        seconds = np.interp(every, had, means_s) + max(0.0, slope_s) * np.maximum(every - had[-1], 0)
        return cls(np.maximum(seconds, _LEAST_S), min(float(had.size), 2.0 + float(weight.sum())))


def _weights(off: np.ndarray, counts: np.ndarray, within: float) -> np.ndarray:
    """`[sizes]` how far the mean of each size counts against the line, from 0 to 1.

    Args:
        off: `[sizes]` relative distance of the means from the line.
        counts: `[sizes]` number of batches of each.
        within: sum of the squared relative distances of all batches from the mean of their size.
    """
    total, sizes = int(counts.sum()), off.size
    if sizes == 2:
        return np.ones(2)  # the line is theirs
    squares = float(np.sum(counts * off**2))
    variance = (within + squares) / (total - 2) if total - sizes < sizes else within / (total - sizes)
    if variance <= 1e-12:
        return np.ones(sizes)
    between = (squares - (sizes - 2) * variance) / (total - float(np.sum(counts**2)) / total)
    return np.asarray(1 / (1 + variance / (counts * between))) if between > 0 else np.zeros(sizes)
