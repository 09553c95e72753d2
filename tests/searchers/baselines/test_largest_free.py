"""Of scores to a configuration: against a search through all of them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from searchers.base import History, largest_free

scores = st.lists(st.sampled_from([-np.inf, -1.0, 0.0, 2.0, np.nan]), min_size=1, max_size=5)


@given(scores, st.sets(st.integers(0, 4)), st.sets(st.integers(0, 4)), st.integers(0, 3))
def test_is_a_largest_score_among_the_free(numbers, observed, pending, seed):
    n = len(numbers)
    history = History(pending=frozenset(p for p in pending if p < n))
    for position in sorted(o for o in observed if o < n):
        history = history.observe(position, None)
    free = [i for i in range(n) if i not in observed and i not in pending]
    found = largest_free(np.array(numbers), history, np.random.default_rng(seed))
    if not free:
        assert found is None
        return
    known = [-np.inf if np.isnan(numbers[i]) else numbers[i] for i in free]
    assert type(found) is int and found in [i for i, score in zip(free, known, strict=True) if score == max(known)]


def test_every_one_of_equals_is_as_likely_and_another_seed_another_choice():
    history = History().observe(1, None).await_(4)
    found = [largest_free(np.array([3.0, 3, 0, 3, 3]), history, np.random.default_rng(seed)) for seed in range(600)]
    # Two of four 3s are free: 300 each, and 5 standard deviations are 61.
    assert set(found) == {0, 3} and abs(found.count(0) - 300) < 61


def test_the_scores_are_left_as_they_were():
    numbers = np.array([np.nan, 1.0])
    largest_free(numbers, History(), np.random.default_rng(0))
    assert np.isnan(numbers[0])
