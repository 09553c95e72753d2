import numpy as np
import pytest

from searchers.acquisition import chance_of_more, worth

VALUES = np.array([[10.0, 9.6, 4.0, 0.0], [2.0, 4.0, 8.0, 0.0]])  # two samples of four configurations
NOTHING = np.array([], dtype=int)


def test_worth_by_hand():
    # Sample 1: gains 1, .96, .4, 0; done by the first two. Sample 2: gains .25, .5, 1, 0; done by the third.
    expected = [(1 + 0.25 + 1) / 2, (0.96 + 0.5 + 1) / 2, (0.4 + 1 + 1) / 2, 0]
    assert worth(VALUES, NOTHING, 0.05) == pytest.approx(expected)


def test_worth_counts_from_what_is_measured_or_pending_in_each_sample():
    # With the second one taken: sample 1 leaves 0.4 of 10 to be gained by the first, sample 2 half of 8 by the third.
    expected = [(0.04 + 1) / 2, 0, (0.5 + 1) / 2, 0]
    assert worth(VALUES, np.array([1]), 0.05) == pytest.approx(expected)


def test_worth_of_samples_in_which_nothing_counts_is_zero():
    assert not worth(np.zeros((2, 4)), NOTHING, 0.05).any()


def test_chance_of_more():
    assert chance_of_more(VALUES, NOTHING, 0.0) == 1
    assert chance_of_more(VALUES, np.array([1]), 0.03) == 1
    assert chance_of_more(VALUES, np.array([1]), 0.05) == 0.5
    assert chance_of_more(VALUES, np.array([0, 2]), 0.0) == 0
