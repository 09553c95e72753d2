"""How well the times of a replica's batches are known, from the batches that were observed.

What is asked is the mean time of a mix of sizes: those of the batches that the slowest requests were in. Two things
make it less well known than the mean of as many independent batches of one size:

- Slow batches come in runs. By how much this widens the error, batch means of all batches in their order say.
- Several means are fitted. Sizes that had few batches are badly known, but their errors are independent, and a mix
  averages them; and most batches were observed where the levels were held, near the limit. By how much this widens the
  error is found by doing it again: with batches drawn anew, the mean times are fitted as they were to the observed ones
  (the bootstrap of residuals: Efron, Annals of Statistics 7, 1979, section 7).
"""

from __future__ import annotations

import math

import numpy as np

from serve_deployments.measuring.predicting.mean_times import MeanTimes
from serve_deployments.measuring.statistics import interval

_AGAIN = 100  # times that the batches are drawn: a standard error is then known to 7 %; our choice

_ALIKE = 1e-9  # relative difference of batch times that is rounding


def relative_error(mean_s: np.ndarray, sizes: np.ndarray, factors: np.ndarray, mix: np.ndarray) -> float:
    """Relative standard error of the mean time of a mix of batches.

    Args:
        mean_s: `[b]` fitted mean seconds of a batch of 1, 2, … b requests.
        sizes: `[m]` sizes of the observed batches, in order, each from 1 to b.
        factors: `[m]` their times relative to the mean of their size.
        mix: `[b]` weight of each size.
    """
    if np.ptp(factors) < _ALIKE:
        return 0.0
    of_all = interval.mean(factors)
    alone = of_all.error if of_all else float(factors.std()) / math.sqrt(factors.size)
    return alone * max(1.0, _widened_by_fit(mean_s, sizes, factors, mix))


def _widened_by_fit(mean_s: np.ndarray, sizes: np.ndarray, factors: np.ndarray, mix: np.ndarray) -> float:
    """Error of a mix's mean time relative to that of the mean of all factors, where the batches are independent."""
    drawn = factors[np.random.default_rng(0).integers(factors.size, size=(_AGAIN, factors.size))]
    found_s = [float(mix @ MeanTimes.of(sizes, mean_s[sizes - 1] * one, mix.size).seconds) for one in drawn]
    return float(np.std(found_s) / np.mean(found_s) / np.std(drawn.mean(axis=1)))
