"""Arrivals against what their names promise."""

import itertools

import numpy as np
import pytest

from serve_deployments import arrivals


def first(offsets, count):
    return np.array(list(itertools.islice(offsets, count)))


def test_constant_is_equally_spaced_from_zero():
    assert first(arrivals.constant(4.0), 5).tolist() == [0, 0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize("rate_rps", [0.05, 200.0])
def test_poisson_gaps_are_exponential(rate_rps):
    gaps = np.diff(first(arrivals.poisson(rate_rps, np.random.default_rng(1)), 20_001))
    assert gaps.mean() == pytest.approx(1 / rate_rps, rel=0.03)
    # An exponential's standard deviation is its mean, and it exceeds its mean with probability 1 / e.
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.03)
    assert (gaps > gaps.mean()).mean() == pytest.approx(np.exp(-1), abs=0.01)
    # Independent: what one gap was says nothing about the next.
    assert abs(np.corrcoef(gaps[:-1], gaps[1:])[0, 1]) < 0.03


def test_poisson_counts_vary_as_much_as_their_mean():
    offsets = first(arrivals.poisson(10, np.random.default_rng(2)), 50_000)
    counts = np.histogram(offsets, bins=np.arange(0, 4_000))[0]
    assert counts.var() == pytest.approx(counts.mean(), rel=0.1)


def test_same_seed_gives_the_same_pattern_stretched():
    slow = first(arrivals.poisson(1, np.random.default_rng(3)), 100)
    fast = first(arrivals.poisson(8, np.random.default_rng(3)), 100)
    np.testing.assert_allclose(slow, 8 * fast)


@pytest.mark.parametrize("rate_rps", [0, -1, float("nan"), float("inf")])
def test_refuses_impossible_rates_at_once(rate_rps):
    with pytest.raises(ValueError, match="positive"):
        arrivals.constant(rate_rps)
    with pytest.raises(ValueError, match="positive"):
        arrivals.poisson(rate_rps, np.random.default_rng())
