"""The mean time of a batch of each size: drawn towards a line as far as chance explains what is beside it."""

import numpy as np
import pytest

from serve_deployments.measuring.predicting.mean_times import MeanTimes

SIZES = np.repeat(np.arange(1, 9), 6)


def affine(size):
    return 0.02 + 0.005 * size


def stepped(size):
    """As of a device that pads batches to four: 20 ms up to four, 60 ms beyond."""
    return np.where(size <= 4, 0.02, 0.06)


@pytest.mark.parametrize("service_s", [affine, stepped])
def test_times_that_never_vary_are_what_they_were_be_they_on_a_line_or_not(service_s):
    found = MeanTimes.of(SIZES, service_s(SIZES), 8)
    assert found.seconds == pytest.approx(service_s(np.arange(1, 9))) and found.fitted <= 8


def test_the_one_batch_of_a_size_says_less_than_the_line_of_all():
    rng = np.random.default_rng(0)
    sizes = np.concatenate([np.repeat([1, 8], 40), np.arange(2, 8)])
    drawn, own = [], []
    for _ in range(50):
        took_s = affine(sizes) * rng.gamma(100, 0.01, sizes.size)
        found = MeanTimes.of(sizes, took_s, 8)
        drawn.append(found.seconds[1:7] / affine(np.arange(2, 8)) - 1)
        own.append(took_s[-6:] / affine(np.arange(2, 8)) - 1)
        assert 2.0 <= found.fitted < 6.0
    assert np.std(drawn) < 0.5 * np.std(own)


def test_steps_that_chance_does_not_explain_are_kept():
    took_s = stepped(SIZES) * np.random.default_rng(1).gamma(100, 0.01, SIZES.size)
    found = MeanTimes.of(SIZES, took_s, 8)
    assert found.seconds == pytest.approx(stepped(np.arange(1, 9)), rel=0.15) and found.fitted > 7.0


def test_one_size_is_a_mean_and_two_are_a_line():
    one = MeanTimes.of(np.full(3, 2), np.array([1.0, 2.0, 3.0]), 4)
    assert one.seconds == pytest.approx([2.0] * 4) and one.fitted == 1.0
    two = MeanTimes.of(np.array([1, 1, 3]), np.array([1.0, 2.0, 3.5]), 5)
    assert two.seconds == pytest.approx([1.5, 2.5, 3.5, 4.5, 5.5]) and two.fitted == 2.0
