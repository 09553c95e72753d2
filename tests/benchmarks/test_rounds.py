"""Figures of several rounds: their order, ratios, and how far they vary."""

import math

import numpy as np
import pytest

from benchmarks.measuring.rounds import Seen, order, ratios, values
from benchmarks.recording.spread import mean_ratio, middle, variation, variation_within


def test_every_other_round_goes_in_reverse():
    assert [order("abc", i) for i in range(3)] == [["a", "b", "c"], ["c", "b", "a"], ["a", "b", "c"]]


def test_ratios_are_taken_within_a_round_that_has_both():
    rounds = [{"a": Seen(10.0), "b": Seen(5.0)}, {"a": Seen(3.0), "b": Seen(4.0)}, {"a": Seen(1.0)}, {"b": Seen(0.0)}]
    assert ratios(rounds, "a", "b") == [2.0, 0.75]
    assert values(rounds, "a", "rate_rps") == [10.0, 3.0, 1.0]


def test_figures_that_a_tool_does_not_have_are_left_out():
    rounds = [{"a": Seen(1.0, p99_ms=4.0), "b": Seen(1.0)}, {"a": Seen(1.0, p99_ms=6.0), "b": Seen(1.0, p99_ms=3.0)}]
    assert ratios(rounds, "a", "b", "p99_ms") == [2.0]
    assert middle(values(rounds, "b", "p50_ms")) == "–"
    assert middle(values(rounds, "a", "p99_ms"), ".1f") == "5.0 (4.0 to 6.0)"


@pytest.mark.parametrize("rate_rps", [-1.0, math.nan, math.inf])
def test_a_rate_that_is_none_is_refused(rate_rps):
    with pytest.raises(ValueError, match="requests per second"):
        Seen(rate_rps)


def test_variation_is_by_hand():
    assert variation([9.0, 10.0, 11.0]) == pytest.approx(0.1)
    with pytest.raises(ValueError, match="two numbers"):
        variation([1.0])


def test_the_interval_of_a_variation_covers_the_true_one():
    rng = np.random.default_rng(0)
    runs = [variation(rng.normal(100, 3, 10).tolist()) for _ in range(1000)]
    covered = [low <= 0.03 <= high for low, high in (variation_within(found, 10) for found in runs)]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.02)


def test_the_interval_of_a_mean_ratio_covers_the_true_one():
    rng = np.random.default_rng(0)
    found = [mean_ratio(np.exp(rng.normal(np.log(0.9), 0.1, 5)).tolist()) for _ in range(1000)]
    assert np.mean([low <= 0.9 <= high for _, low, high in found]) == pytest.approx(0.95, abs=0.02)


def test_one_round_has_a_ratio_and_no_interval():
    assert mean_ratio([0.5]) == (pytest.approx(0.5), 0.0, math.inf)
    assert mean_ratio([0.5, 2.0])[0] == pytest.approx(1.0)
    for none in ([], [0.0, 1.0]):
        with pytest.raises(ValueError, match="above 0"):
            mean_ratio(none)
