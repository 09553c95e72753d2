"""Arrivals against what their names promise."""

import itertools
import pickle

import numpy as np
import pytest

from serve_deployments.load.arrivals import CONSTANT, POISSON, Renewal, Trace, nth

TRACE = Trace((10.0, 11.0, 13.0))
PATTERNS = [CONSTANT, POISSON, Renewal(0.5), Renewal(3.0), TRACE]


def first(offsets, count):
    return np.array(list(itertools.islice(offsets, count)))


def test_constant_is_equally_spaced_from_zero():
    assert first(CONSTANT.offsets(4.0, seed=1), 5).tolist() == [0, 0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize("rate_rps", [0.05, 200.0])
def test_poisson_gaps_are_exponential(rate_rps):
    gaps = np.diff(first(POISSON.offsets(rate_rps, seed=1), 20_001))
    assert gaps.mean() == pytest.approx(1 / rate_rps, rel=0.03)
    # An exponential's standard deviation is its mean, and it exceeds its mean with probability 1 / e.
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.03)
    assert (gaps > gaps.mean()).mean() == pytest.approx(np.exp(-1), abs=0.01)
    # Independent: what one gap was says nothing about the next.
    assert abs(np.corrcoef(gaps[:-1], gaps[1:])[0, 1]) < 0.03


@pytest.mark.parametrize("cv", [0.25, 1.0, 2.0, 4.0])
def test_gaps_have_the_mean_and_the_variation_asked_for(cv):
    gaps = np.diff(first(Renewal(cv).offsets(5.0, seed=4), 100_001))
    assert gaps.mean() == pytest.approx(0.2, rel=4 * cv / np.sqrt(100_000))
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.05)
    assert gaps.min() >= 0


@pytest.mark.parametrize("cv", [0.5, 1.0, 2.0])
def test_the_schedule_is_that_of_gaps_drawn_one_by_one(cv):
    rng, shape = np.random.default_rng(7), cv**-2
    units = itertools.accumulate(rng.standard_gamma(shape) / shape for _ in range(1500))
    assert first(Renewal(cv).offsets(3.0, seed=7), 1500).tolist() == [each / 3.0 for each in units]


@pytest.mark.parametrize("cv", [0.5, 1.0, 2.0])
def test_counts_vary_as_much_as_their_mean_times_cv_squared(cv):
    """The counts of a renewal process have the variance cv^2 x mean over spans of many gaps (Cox 1962, 4.1)."""
    offsets = first(Renewal(cv).offsets(100, seed=2), 100_000)
    counts = np.histogram(offsets, bins=np.arange(0, 900))[0]
    assert counts.var() == pytest.approx(cv**2 * counts.mean(), rel=0.2)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_same_seed_gives_the_same_pattern_stretched(pattern):
    slow, fast = first(pattern.offsets(1, seed=3), 100), first(pattern.offsets(8, seed=3), 100)
    np.testing.assert_allclose(slow, 8 * fast)
    assert (np.diff(slow) >= 0).all()
    here, there = pattern, pickle.loads(pickle.dumps(pattern))
    assert here == there and hash(here) == hash(there)
    np.testing.assert_array_equal(first(there.offsets(1, seed=3), 100), slow)


def test_another_seed_gives_another_pattern():
    assert not np.allclose(first(POISSON.offsets(1, seed=3), 100), first(POISSON.offsets(1, seed=4), 100))


def test_a_trace_is_stretched_and_repeated():
    # Gaps of 1 s and 2 s, 1.5 s on average: at 2 requests/s they are 1/3 and 2/3 of a second, and a mean gap of 1/2
    # lies between the rounds.
    by_hand = [0, 1 / 3, 1, 1.5, 11 / 6, 2.5, 3.0, 10 / 3, 4.0]
    np.testing.assert_allclose(first(TRACE.offsets(2.0, seed=0), 9), by_hand)
    # 3000 rounds of three are 9000 requests, at 2 requests/s in 4500 s.
    assert first(TRACE.offsets(2.0, seed=0), 9001)[-1] == pytest.approx(4500)
    # Gaps of 1 and 2 lie half a second from their mean of 1.5.
    assert TRACE.cv == pytest.approx(1 / 3)


def test_arrivals_of_a_trace_may_come_at_once():
    assert first(Trace((0.0, 0.0, 2.0)).offsets(1.0, seed=0), 4).tolist() == [0, 0, 2, 3]


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("of", [1, 2, 5])
def test_senders_together_keep_the_whole_schedule(pattern, of):
    whole = first(pattern.offsets(7.0, seed=5), 60)
    parts = [first(nth(pattern.offsets(7.0, seed=5), index, of), 60 // of) for index in range(of)]
    np.testing.assert_array_equal(np.stack(parts, axis=1).ravel(), whole)


def test_there_is_no_sender_beyond_the_last():
    for index in (-1, 2):
        with pytest.raises(ValueError, match=r"must be from 0 to \d if"):
            nth(CONSTANT.offsets(1.0, seed=0), index, 2)


@pytest.mark.parametrize("rate_rps", [0, -1, float("nan"), float("inf")])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_refuses_impossible_rates_at_once(pattern, rate_rps):
    with pytest.raises(ValueError, match="positive"):
        pattern.offsets(rate_rps, seed=0)


@pytest.mark.parametrize("cv", [-0.1, 11, float("nan"), float("inf")])
def test_refuses_impossible_variation(cv):
    with pytest.raises(ValueError, match="from 0 to 10"):
        Renewal(cv)


@pytest.mark.parametrize(
    ("times_s", "says"),
    [
        ((), "at least two arrivals, this one has 0"),
        ((1.0,), "at least two arrivals, this one has 1"),
        ((1.0, 3.0, 2.0), "arrival 3 at 2 s is earlier than the previous one at 3 s; sort"),
        ((1.0, 1.0), "at the same time, so it has no rate"),
        ((0.0, float("nan")), "finite"),
    ],
)
def test_refuses_what_is_no_trace(times_s, says):
    with pytest.raises(ValueError, match=says):
        Trace(times_s)
