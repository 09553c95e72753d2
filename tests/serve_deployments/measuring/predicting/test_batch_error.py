"""How well the mean time of a mix of batches is known: against the spread when it is measured again and again."""

import numpy as np
import pytest

from serve_deployments.measuring.predicting.batch_error import relative_error
from serve_deployments.measuring.predicting.mean_times import MeanTimes
from serve_deployments.measuring.statistics import interval

MEAN_S = 0.02 + 0.005 * np.arange(1, 9)
EVERY = np.repeat(np.arange(1, 9), 6)
ONE_EACH = np.concatenate([np.repeat([1, 8], 40), np.arange(2, 8)])
LARGEST = np.eye(8)[-1]


def factors_of(sizes, seed):
    return np.random.default_rng(seed).gamma(25, 1 / 25, sizes.size)


@pytest.mark.parametrize(
    ("sizes", "mix"), [(EVERY, np.ones(8) / 8), (EVERY, LARGEST), (ONE_EACH, np.ones(8) / 8), (ONE_EACH, LARGEST)]
)
def test_a_mix_is_known_less_well_than_all_batches_by_as_much_as_its_spread_is_wider_when_measured_again(sizes, mix):
    """300 times measured, against what each of twelve says of itself."""
    drawn = [factors_of(sizes, seed) for seed in range(300)]
    found_s = [float(mix @ MeanTimes.of(sizes, MEAN_S[sizes - 1] * each, 8).seconds) for each in drawn]
    wider = np.std(found_s) / np.mean(found_s) / np.std([each.mean() for each in drawn])
    said = [relative_error(MEAN_S, sizes, each, mix) / interval.mean(each).error for each in drawn[:12]]
    assert np.mean(said) == pytest.approx(wider, rel=0.2)


@pytest.mark.parametrize("seed", range(8))
def test_no_mix_is_known_better_than_as_many_batches_of_one_size(seed):
    """One that gives all batches the same weight is known as well; what is drawn anew says of half of these: better."""
    factors = factors_of(EVERY, seed)
    alone = interval.mean(factors).error
    assert alone <= relative_error(MEAN_S, EVERY, factors, 1 / MEAN_S) <= 1.1 * alone
    assert relative_error(MEAN_S, EVERY, factors, LARGEST) > 1.5 * alone


def test_batches_of_one_size_are_known_as_their_mean_is():
    sizes, factors = np.ones(48, dtype=int), factors_of(EVERY, 0)
    said = relative_error(MEAN_S[:1], sizes, factors, np.ones(1))
    assert said == pytest.approx(interval.mean(factors).error, rel=0.1)


def test_slow_batches_in_a_run_say_less_than_among_the_others():
    slow = np.where(np.arange(64) < 16, 1.5, 1.0)
    sizes, mix = np.ones(64, dtype=int), np.ones(1)
    spread = slow.reshape(4, 16).T.ravel()
    in_a_run, among = (relative_error(MEAN_S[:1], sizes, each, mix) for each in (slow, spread))
    assert in_a_run > 1.5 * among > 0


def test_batches_that_never_vary_are_known_exactly():
    assert relative_error(MEAN_S, EVERY, np.ones(EVERY.size), np.ones(8) / 8) == 0.0
