"""What measuring a configuration is worth, from samples of what all of them may be worth.

Notation: S samples, n configurations; `[S, n]` values, 0 where a configuration does not count.
"""

from __future__ import annotations

import numpy as np


def acquisition(values: np.ndarray, taken: np.ndarray, tolerance: float) -> np.ndarray:
    """`[n]` expected gain plus the chance to be done, both in parts of the best that there is.

        mean_s [ max(0, v_s(x) - b_s) / t_s  +  1{ v_s(x) > b_s  and  v_s(x) >= (1 - tolerance) t_s } ]

    with t_s the best of sample s and b_s its best among what was measured or is being measured. The first term is
    expected improvement (Mockus 1975) without a unit, so that no sample outweighs the others; with trials pending
    and noisy ones it is that of Letham et al. 2019. The second is the probability of being the best (Russo 2020),
    for whoever is content with `tolerance`: it looks for the end of the search, the first for a step towards it.

    Args:
        values: the samples.
        taken: positions measured or pending.
        tolerance: how much worse than the best is as good as the best.
    """
    top, best = _tops(values, taken)
    better = values > best
    gain = np.where(better, values - best, 0.0) / np.where(top > 0, top, 1.0)
    done = better & (values >= (1 - tolerance) * top)
    return (gain + done).mean(axis=0)


def chance_of_more(values: np.ndarray, taken: np.ndarray, margin: float) -> float:
    """The chance that some configuration is better than all measured ones by more than a fraction `margin`."""
    top, best = _tops(values, taken)
    return float((top > (1 + margin) * best).mean())


def _tops(values: np.ndarray, taken: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`[S, 1]` each sample's best, and its best among positions `taken`."""
    return values.max(axis=1, keepdims=True), values[:, taken].max(axis=1, initial=0.0)[:, None]
