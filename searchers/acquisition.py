"""Which configuration to measure next, from samples of what all of them may be worth.

Notation: S samples, n configurations, `[S, n]` values, 0 where a configuration does not count.
"""

from __future__ import annotations

import numpy as np


def near_best(values: np.ndarray, best: float, tolerance: float) -> np.ndarray:
    """`[n]` in what part of the samples a configuration is better than `best` and within `tolerance` of the very best.

    The chance that measuring it ends the search, for whoever is content with `tolerance`. Probability of being the
    best (Russo 2020, "Simple Bayesian algorithms for best-arm identification"), but of what is as good as the best.
    """
    top = values.max(axis=1, keepdims=True)
    return ((values >= (1 - tolerance) * top) & (values > best)).mean(axis=0)


def expected_improvement(values: np.ndarray, best: float) -> np.ndarray:
    """`[n]` mean of max(0, value - best), relative to the mean of the samples' best values (Mockus 1975)."""
    scale = max(float(values.max(axis=1).mean()), 1e-300)
    return np.maximum(values - best, 0.0).mean(axis=0) / scale


def chance_of_more(values: np.ndarray, best: float, margin: float) -> float:
    """The chance that some configuration is better than `best` by more than a fraction `margin`."""
    return float((values.max(axis=1) > (1 + margin) * best).mean())
