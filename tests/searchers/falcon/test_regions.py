"""The best split by hand and against every subset of values; halves."""

from itertools import combinations

import numpy as np
import pytest

from searchers.falcon.regions import ALIKE, FEW, ONE, ByQuality, IntoHalves
from searchers.falcon.tree import Split


def gain(quality: np.ndarray, left: np.ndarray) -> float:
    """By how much squared differences from the mean become fewer."""
    return squared(quality) - squared(quality[left]) - squared(quality[~left])


def squared(quality: np.ndarray) -> float:
    return float(((quality - quality.mean()) ** 2).sum())


def subsets(ranks: np.ndarray, ordered: bool):
    values = sorted(set(ranks.tolist()))
    if ordered:
        return [values[:i] for i in range(1, len(values))]
    return [list(some) for size in range(1, len(values)) for some in combinations(values, size)]


@pytest.mark.parametrize("seed", range(12))
def test_no_split_by_any_knob_and_any_subset_is_better(seed):
    rng = np.random.default_rng(seed)
    ranks = np.stack([rng.integers(-1, 4, 40), rng.integers(0, 5, 40), rng.integers(-1, 2, 40)], axis=1)
    ordered, quality = np.array([True, False, True]), rng.random(40)
    members = np.sort(rng.permutation(40)[:30])
    found = ByQuality(quality, ranks, ordered, np.ones(3, dtype=bool), 0.01)(members)
    best = max(
        gain(quality[members], left)
        for j in range(3)
        for some in subsets(ranks[members, j], bool(ordered[j]))
        if min((left := np.isin(ranks[members, j], some)).sum(), (~left).sum()) >= 4
    )
    assert isinstance(found, Split) and found.gain == pytest.approx(best)
    assert gain(quality[members], np.isin(ranks[members, found.knob], found.ranks)) == pytest.approx(best)


def split(quality, ranks, *, ordered=True, usable=None, noise=0.01):
    ranks = np.array(ranks).reshape(len(quality), -1)
    knobs = ranks.shape[1]
    usable = np.ones(knobs, dtype=bool) if usable is None else np.array(usable)
    return ByQuality(np.array(quality), ranks, np.full(knobs, ordered), usable, noise)(np.arange(len(quality)))


def test_by_hand():
    # From 1 and 0.8 to 0.1 and 0.3 is the step: means 0.9 and 0.2 about 0.55, four times 0.35².
    found = split([1.0, 0.8, 0.1, 0.3], [0, 1, 2, 3])
    assert (found.knob, found.ranks, found.gain) == (0, (0, 1), pytest.approx(4 * 0.35**2))
    # Without an order, those that are alike go together, wherever they stand.
    found = split([1.0, 0.1, 0.9, 0.2, 1.0, 0.1, 0.9, 0.2], [0, 1, 2, 3, 0, 1, 2, 3], ordered=False)
    assert set(found.ranks) in ({0, 2}, {1, 3})
    # A knob that is missing comes before the first value.
    assert split([1.0, 1.0, 0.1, 0.1], [-1, -1, 0, 1]).ranks == (-1,)


def test_why_a_region_is_not_parted():
    assert split([0.50, 0.50, 0.52, 0.52], [0, 0, 1, 1], noise=0.0101) == ALIKE
    assert isinstance(split([0.50, 0.50, 0.52, 0.52], [0, 0, 1, 1], noise=0.0099), Split)
    assert split([0.50, 0.52, 0.50, 0.52], [0, 0, 1, 1], noise=0.0099) == FEW
    assert split([1.0, 0.1, 0.2], [0, 1, 2]) == FEW  # two on both sides, for one knob
    assert split([1.0, 0.1, 0.2, 0.3], [7, 7, 7, 7]) == ONE


def test_a_knob_that_is_dropped_parts_nothing():
    quality, ranks = [1.0] * 6 + [0.1] * 6, [[i // 6, i % 2] for i in range(12)]
    assert split(quality, ranks).knob == 0
    assert split(quality, ranks, usable=[False, True]) == FEW
    assert split(quality, ranks, usable=[False, False]) == ONE


def test_halves_are_by_the_knob_of_most_values_and_the_largest_region_comes_first():
    ranks = np.array([(i, j) for i in range(2) for j in range(5)])
    whole = IntoHalves(ranks)(np.arange(10))
    assert isinstance(whole, Split)
    assert (whole.knob, whole.ranks, whole.gain) == (1, (0, 1), 10.0)
    part = IntoHalves(ranks)(np.array([0, 5]))
    assert isinstance(part, Split) and (part.knob, part.ranks, part.gain) == (0, (0,), 2.0)
    assert IntoHalves(ranks)(np.array([3])) == ONE
