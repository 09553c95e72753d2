"""Acquisition function: how much it is worth to measure each configuration, from joint samples of their values.

Notation: S samples, n configurations; `[S, n]` values, 0 where a configuration is infeasible.
"""

from __future__ import annotations

import numpy as np


def acquisition(values: np.ndarray, taken: np.ndarray, tolerance: float) -> np.ndarray:
    """`[n]` expected gain, as a fraction of the best value, plus the probability that the search is then done.

        mean_s [ max(0, v_s(x) - b_s) / t_s  +  1{ v_s(x) > b_s  and  v_s(x) >= (1 - tolerance) t_s } ]

    with t_s the best value in sample s and b_s the best among positions that are measured or pending. The first term
    is expected improvement (Mockus 1975), divided by t_s so that no sample outweighs the others; with pending and
    noisy trials it is that of Letham et al. 2019. The second is the probability of being the best (Russo 2020), up to
    `tolerance`: it favours configurations that end the search, the first term those that make progress.

    Args:
        values: `[S, n]` samples of the values.
        taken: positions measured or pending.
        tolerance: values that are worse than the best by at most this fraction count as the best.
    """
    top, best = _tops(values, taken)
    better = values > best
    gain = np.where(better, values - best, 0.0) / np.where(top > 0, top, 1.0)
    done = better & (values >= (1 - tolerance) * top)
    return (gain + done).mean(axis=0)


def chance_of_more(values: np.ndarray, taken: np.ndarray, margin: float) -> float:
    """Probability that some configuration is better than all measured ones by more than the fraction `margin`."""
    top, best = _tops(values, taken)
    return float((top > (1 + margin) * best).mean())


def _tops(values: np.ndarray, taken: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`[S, 1]` each sample's best value, and `[S, 1]` its best value among positions `taken`."""
    return values.max(axis=1, keepdims=True), values[:, taken].max(axis=1, initial=0.0)[:, None]
