"""How a region is best parted: by expected quality, or, where nothing is expected, into halves.

The quality of a configuration is its expected value as a fraction of the best expected one, times the probability that
it runs and keeps its limits; it is per dollar where the objective is.

Notation: n configurations, c of them in a region, a knobs, v values of a knob (one more stands for its absence).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from searchers.falcon.tree import Split

ALIKE = "its configurations are expected to be equally good, up to the noise of a measurement"
FEW = "no split tells its configurations apart and leaves one more than there are knobs on both sides"
ONE = "its configurations differ in no knob by which regions are split"

_ROUNDING = 1e-12
"""Gain that may be rounding alone."""


@dataclass(frozen=True, eq=False)
class ByQuality:
    """The split that most reduces the sum of squared differences of quality from the regions' means.

    A regression tree's (Breiman, Friedman, Olshen, Stone 1984, chapter 8). An ordered knob is split at a threshold. The
    values of another one are put in the order of their mean quality and split there, which no other subset surpasses
    (Fisher 1958; Breiman et al., section 9.4). A configuration without the knob comes before an ordered knob's values.

    Args:
        quality: `[n]` quality of every configuration, 0 to 1.
        ranks: `[n, a]` rank of each value; -1 where the knob does not exist.
        ordered: `[a]` whether a knob's values have an order.
        usable: `[a]` whether the knob may be split by.
        noise: a region whose quality has a standard deviation of no more than this is not parted.
    """

    quality: np.ndarray
    ranks: np.ndarray
    ordered: np.ndarray
    usable: np.ndarray
    noise: float

    def __call__(self, members: np.ndarray) -> Split | str:
        """The best split of `[c]` positions, or why there is none."""
        quality = self.quality[members]
        if quality.std() <= self.noise:
            return ALIKE
        # Fewer could not even tell a plane through its knobs apart from its configurations' own deviations.
        least = int(self.usable.sum()) + 1
        found = [self._of_knob(j, members, quality, least) for j in np.flatnonzero(self.usable).tolist()]
        best = max((each for each in found if each is not None), key=lambda each: each.gain, default=None)
        if best is None:
            return FEW if any(_differ(self.ranks[members, j]) for j in np.flatnonzero(self.usable)) else ONE
        return best

    def _of_knob(self, knob: int, members: np.ndarray, quality: np.ndarray, least: int) -> Split | None:
        own = self.ranks[members, knob] + 1
        count, total = np.bincount(own), np.bincount(own, quality)
        values = np.flatnonzero(count)
        if not self.ordered[knob]:
            values = values[np.argsort(total[values] / count[values], kind="stable")]
        left, below = np.cumsum(count[values])[:-1], np.cumsum(total[values])[:-1]
        right, above = len(members) - left, quality.sum() - below
        gains = np.where(
            (left >= least) & (right >= least),
            below**2 / np.maximum(left, 1) + above**2 / np.maximum(right, 1) - quality.sum() ** 2 / len(members),
            -np.inf,
        )
        if not len(gains) or gains.max() <= _ROUNDING:
            return None
        at = int(np.argmax(gains.round(12)))
        return Split(knob, tuple(sorted((values[: at + 1] - 1).tolist())), float(gains[at]))


@dataclass(frozen=True, eq=False)
class IntoHalves:
    """The split of a region into halves by the knob of which it has most values; the largest region comes first.

    For a space of which nothing is expected: regions are then compact, and none is larger than need be.

    Args:
        ranks: `[n, a]` rank of each value; -1 where the knob does not exist.
    """

    ranks: np.ndarray

    def __call__(self, members: np.ndarray) -> Split | str:
        """The split of `[c]` positions, or why there is none."""
        counts = [np.bincount(column + 1) for column in self.ranks[members].T]
        different = [int(np.count_nonzero(count)) for count in counts]
        knob = int(np.argmax(different))
        if different[knob] < 2:
            return ONE
        values = np.flatnonzero(counts[knob])
        left = np.cumsum(counts[knob][values])[:-1]
        at = int(np.argmin(np.abs(2 * left - len(members))))
        return Split(knob, tuple((values[: at + 1] - 1).tolist()), float(len(members)))


def _differ(ranks: np.ndarray) -> bool:
    return bool((ranks != ranks[0]).any())
