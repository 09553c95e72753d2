"""The stopping rule in a time that is told: it stops when it is sure, and when the time is up."""

import numpy as np
import pytest

from cluster.operators.curves.timing import Patience, interval_of, timed


class Clock:
    """A clock that calls move on."""

    def __init__(self, took_s):
        self.now, self.took_s, self.calls = 0.0, iter(took_s), 0

    def __call__(self):
        return self.now

    def run(self):
        self.calls += 1
        self.now += next(self.took_s)


def always(seconds):
    while True:
        yield seconds


def noisy(mean, spread, seed=0):
    rng = np.random.default_rng(seed)
    while True:
        yield mean * float(rng.lognormal(0, spread))


def test_equal_calls_end_at_the_fewest_blocks():
    clock = Clock(always(0.01))
    found = timed(clock.run, Patience(fewest=8, most_s=60), clock)
    assert (found.mean_s, found.calls, found.error) == (pytest.approx(0.01), 8, pytest.approx(0))
    assert clock.calls == 10  # two to warm up


def test_short_calls_are_repeated_within_a_block():
    clock = Clock(always(1e-5))
    found = timed(clock.run, Patience(fewest=4, block_s=0.001, most_s=1), clock)
    assert found.calls == 4 * 100 and found.mean_s == pytest.approx(1e-5)


def test_noise_is_measured_until_the_interval_is_tight_or_the_time_is_up():
    patient, hasty = Clock(noisy(0.01, 0.2)), Clock(noisy(0.01, 0.2))
    long = timed(patient.run, Patience(within=0.02, most_s=100), patient)
    short = timed(hasty.run, Patience(within=0.02, most_s=0.15), hasty)
    assert long.error <= 0.02 < short.error and long.calls > 3 * short.calls
    assert hasty.now < 0.15 + 10 * 0.02


def test_moments_with_other_work_do_not_count():
    rng = np.random.default_rng(1)

    def disturbed():
        while True:
            yield 0.01 if rng.random() < 0.7 else 0.2

    clock = Clock(disturbed())
    assert timed(clock.run, Patience(most_s=10), clock).mean_s == pytest.approx(0.01)


def test_the_interval_has_the_mean_of_the_faster_half_as_often_as_it_says():
    rng, inside = np.random.default_rng(2), 0
    half = np.sort(rng.normal(1, 0.1, 1_000_000))[:500_000].mean()
    for _ in range(400):
        _, low, high = interval_of(list(rng.normal(1, 0.1, 60)))
        inside += low <= half <= high
    assert 0.88 <= inside / 400 <= 0.99


@pytest.mark.parametrize("bad", [{"within": 0}, {"most_s": 0}, {"block_s": 0}, {"slow": 1.0}, {"fewest": 3}])
def test_bad_rules_are_refused(bad):
    with pytest.raises(ValueError, match="patience|interval"):
        Patience(**bad)
