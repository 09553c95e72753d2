"""Whatever the order of a file is, its first samples stand for all of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raytune_infer.spec.samples.sample_order import spread

FILES = {
    "sorted": lambda n: np.arange(n),
    "sorted the other way": lambda n: np.arange(n)[::-1],
    "short, long, short, long": lambda n: np.arange(n) % 2,
    "every seventh is long": lambda n: np.arange(n) % 7 == 0,
    "a few long ones at the end": lambda n: np.arange(n) >= 0.95 * n,
}


@given(st.integers(1, 3000), st.integers(0, 2**32))
def test_each_sample_is_there_once_and_the_order_follows_from_the_seed(count, seed):
    found = spread(range(count), np.random.default_rng(seed))
    assert sorted(found) == list(range(count))
    assert found == spread(range(count), np.random.default_rng(seed))


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("count", [1000, 4000, 12_345])
def test_every_beginning_has_the_mean_of_all(kind, count):
    worth = FILES[kind](count).astype(float)
    spreads = [spread(worth.tolist(), np.random.default_rng(seed)) for seed in range(20)]
    for first in (50, 200, 700):
        means = np.array([np.mean(found[:first]) for found in spreads])
        # Of a random order the standard error is s / sqrt(n): an even one has no more.
        assert abs(means.mean() - worth.mean()) < 4 * worth.std() / np.sqrt(first * 20)
        assert means.std() < 1.3 * worth.std() / np.sqrt(first)


def test_of_a_sorted_file_each_tenth_is_seen_by_a_hundred_requests():
    found = np.array(spread(range(4000), np.random.default_rng(0)))[:100]
    assert np.bincount(found // 400, minlength=10).min() >= 9


@pytest.mark.parametrize("batch", [1, 4, 16])
def test_a_level_over_a_sorted_file_has_the_rate_of_a_shuffled_one(batch):
    """Of a replica whose batch takes as long as its samples together, over the 400 requests of a level."""
    seconds = np.linspace(0.0005, 0.0075, 4000)

    def rate_rps(sent):
        return sent.size / sent.reshape(-1, batch).sum(axis=1).sum()

    of_all = 1 / seconds.mean()
    assert rate_rps(seconds[:400]) > 3 * of_all  # as they are in the file
    for seed in range(20):
        sent = np.array(spread(seconds.tolist(), np.random.default_rng(seed))[:400])
        assert rate_rps(sent) == pytest.approx(of_all, rel=0.05)


def test_another_seed_gives_another_order():
    assert spread(range(50), np.random.default_rng(0)) != spread(range(50), np.random.default_rng(1))
