import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchers.meta.acquisition import acquisition, chance_of_more

VALUES = np.array([[10.0, 9.6, 4.0, 0.0], [2.0, 4.0, 8.0, 0.0]])  # two samples of four configurations
NOTHING = np.array([], dtype=int)


def test_worth_by_hand():
    # Sample 1: gains 1, .96, .4, 0; done by the first two. Sample 2: gains .25, .5, 1, 0; done by the third.
    expected = [(1 + 0.25 + 1) / 2, (0.96 + 0.5 + 1) / 2, (0.4 + 1 + 1) / 2, 0]
    assert acquisition(VALUES, NOTHING, 0.05) == pytest.approx(expected)


def test_worth_counts_from_what_is_measured_or_pending_in_each_sample():
    # With the second one taken: sample 1 leaves 0.4 of 10 to be gained by the first, sample 2 half of 8 by the third.
    expected = [(0.04 + 1) / 2, 0, (0.5 + 1) / 2, 0]
    assert acquisition(VALUES, np.array([1]), 0.05) == pytest.approx(expected)


def test_worth_of_samples_in_which_nothing_counts_is_zero():
    assert not acquisition(np.zeros((2, 4)), NOTHING, 0.05).any()


def test_chance_of_more():
    assert chance_of_more(VALUES, NOTHING, 0.0) == 1
    assert chance_of_more(VALUES, np.array([1]), 0.03) == 1
    assert chance_of_more(VALUES, np.array([1]), 0.05) == 0.5
    assert chance_of_more(VALUES, np.array([0, 2]), 0.0) == 0


samples = st.integers(1, 4).flatmap(
    lambda n: st.lists(
        st.lists(st.sampled_from([0.0, 1.0, 2.0, 9.5, 10.0]), min_size=n, max_size=n), min_size=1, max_size=4
    )
)


def worth_of(values: np.ndarray, taken: list[int], tolerance: float, position: int) -> float:
    """The formula for one configuration, one sample after another."""
    total = 0.0
    for sample in values:
        top, best = max(sample), max((sample[i] for i in taken), default=0.0)
        if sample[position] > best:
            total += (sample[position] - best) / top + (sample[position] >= (1 - tolerance) * top)
    return total / len(values)


@given(samples, st.sets(st.integers(0, 3)), st.sampled_from([0.0, 0.05, 0.1]))
def test_worth_of_all_is_the_worth_of_each(drawn, taken, tolerance):
    values = np.array(drawn)
    taken_here = sorted(t for t in taken if t < values.shape[1])
    found = acquisition(values, np.array(taken_here, dtype=int), tolerance)
    assert found == pytest.approx([worth_of(values, taken_here, tolerance, i) for i in range(values.shape[1])])
    assert (found[taken_here] == 0).all()


@given(samples, st.sets(st.integers(0, 3)), st.sampled_from([0.0, 0.05, 0.1]))
def test_the_chance_of_more_is_the_share_of_samples_in_which_there_is_more(drawn, taken, margin):
    values = np.array(drawn)
    taken_here = [t for t in taken if t < values.shape[1]]
    bests = [max((sample[i] for i in taken_here), default=0.0) for sample in values]
    expected = np.mean([max(sample) > (1 + margin) * best for sample, best in zip(values, bests, strict=True)])
    assert chance_of_more(values, np.array(taken_here, dtype=int), margin) == pytest.approx(expected)
