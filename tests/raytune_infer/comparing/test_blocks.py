"""Side by side in rounds: against a textbook's formulas, and against data of which the truth is known."""

import math

import numpy as np
import pytest
from scipy import stats

from raytune_infer.comparing.blocks import Estimate, NoisePrior, fit

NAN = math.nan


def drifting(rng: np.random.Generator, *, ratios, rounds: int, noise: float, drift: float) -> np.ndarray:
    """Figures `[k, rounds]` on a machine whose speed is another in every round."""
    speed = np.exp(drift * rng.standard_normal(rounds))
    return 100 * np.array(ratios)[:, None] * speed * np.exp(noise * rng.standard_normal((len(ratios), rounds)))


def test_full_blocks_are_those_of_the_analysis_of_variance():
    """Montgomery's formulas for a full design: means by row, sigma^2 = SS_error / ((k - 1)(b - 1))."""
    figures = drifting(np.random.default_rng(0), ratios=(1, 1.2, 0.7), rounds=4, noise=0.1, drift=0.3)
    y = np.log(figures)
    residual = y - y.mean(axis=1, keepdims=True) - y.mean(axis=0) + y.mean()
    sigma = math.sqrt((residual**2).sum() / 6)
    blocks = fit(figures)
    assert blocks.freedom == 6
    assert blocks.sigma == pytest.approx(sigma)
    assert blocks.mu == pytest.approx(y.mean(axis=1))
    ratio = blocks.ratio(1, 2, comparisons=2)
    half = stats.t.ppf(1 - 0.05 / 4, 6) * sigma * math.sqrt(2 / 4)
    assert math.log(ratio.value) == pytest.approx(y[1].mean() - y[2].mean())
    assert math.log(ratio.high / ratio.value) == pytest.approx(half)
    assert math.log(ratio.value / ratio.low) == pytest.approx(half)
    # A mean is of one measurement on another day: Montgomery's components of variance, with Satterthwaite's freedom.
    between = 3 * ((y.mean(axis=0) - y.mean()) ** 2).sum() / 3
    variance = between / 3 + 2 / 3 * sigma**2
    freedom = variance**2 / ((between / 3) ** 2 / 3 + (2 / 3 * sigma**2) ** 2 / 6)
    half = stats.t.ppf(0.975, freedom) * math.sqrt(variance / 4)
    assert math.log(blocks.mean(0).high / blocks.mean(0).value) == pytest.approx(half)
    assert (blocks.spread, blocks.spread_freedom) == (pytest.approx(math.sqrt(variance)), pytest.approx(freedom))


def test_two_configurations_are_the_paired_t_test():
    figures = drifting(np.random.default_rng(1), ratios=(1, 1.1), rounds=4, noise=0.05, drift=0.4)
    paired = stats.ttest_rel(*np.log(figures)).confidence_interval(0.95)
    ratio = fit(figures).ratio(0, 1, comparisons=1)
    assert (math.log(ratio.low), math.log(ratio.high)) == pytest.approx((paired.low, paired.high))


def test_drift_between_rounds_is_no_difference():
    figures = np.array([[100.0, 50.0, 200.0], [150.0, 75.0, 300.0]])
    ratio = fit(figures).ratio(1, 0, comparisons=1)
    assert (ratio.low, ratio.high) == pytest.approx((1.5, 1.5), rel=1e-6)


def test_missing_cells_are_what_the_model_says_they_would_have_been():
    figures = np.array([[100.0, 50.0, NAN], [150.0, NAN, 300.0], [80.0, 40.0, 160.0]])
    blocks = fit(figures)
    assert blocks.freedom == 7 - 5
    assert blocks.mu == pytest.approx(np.log([100.0, 150.0, 80.0]))
    # The same design with noise, by dropping the cells from a design of indicator columns.
    rng = np.random.default_rng(2)
    noisy = figures * np.exp(0.1 * rng.standard_normal(figures.shape))
    i, r = np.nonzero(~np.isnan(noisy))
    indicators = np.hstack([np.eye(3)[i], np.eye(3)[r][:, 1:]])
    effects, *_ = np.linalg.lstsq(indicators, np.log(noisy[i, r]), rcond=None)
    assert math.log(fit(noisy).ratio(0, 1, comparisons=1).value) == pytest.approx(effects[0] - effects[1])


def test_what_the_cells_do_not_tell_has_no_interval():
    once = fit(np.array([[100.0], [150.0]])).ratio(0, 1, comparisons=1)
    assert once.value == pytest.approx(100 / 150) and (once.low, once.high) == (0, math.inf)
    never_met = np.array([[100.0, 110.0, 90.0, NAN, NAN], [100.0, 110.0, 94.0, NAN, NAN],
                          [NAN, NAN, NAN, 100.0, 100.0], [NAN, NAN, NAN, 100.0, 104.0]])  # fmt: skip
    blocks = fit(never_met)
    assert blocks.ratio(0, 1, comparisons=1).bounded and blocks.ratio(2, 3, comparisons=1).bounded
    assert not blocks.ratio(0, 2, comparisons=1).bounded
    alone = fit(np.array([[100.0, 110.0, 90.0]]))
    interval = stats.t.interval(0.95, 2, *(f(np.log([100, 110, 90])) for f in (np.mean, stats.sem)))
    assert (math.log(alone.mean(0).low), math.log(alone.mean(0).high)) == pytest.approx(interval)


def test_what_is_known_of_the_noise_counts_as_so_many_degrees_of_freedom():
    figures = np.array([[100.0, 110.0], [150.0, 160.0]])
    residual = np.log(100 * 160 / (110 * 150)) ** 2 / 4
    blocks = fit(figures, NoisePrior(sigma=0.1, freedom=4))
    assert blocks.freedom == 5 and blocks.sigma == pytest.approx(math.sqrt((residual + 4 * 0.01) / 5))
    assert blocks.mu == pytest.approx(fit(figures).mu)


def test_with_it_two_rounds_tell_a_large_difference_and_intervals_still_hold():
    rng, seen, held = np.random.default_rng(5), 0, 0
    for _ in range(400):
        figures = drifting(rng, ratios=(1.6, 1), rounds=2, noise=0.1, drift=0.35)
        ratio = fit(figures, NoisePrior(sigma=0.1, freedom=4)).ratio(0, 1, comparisons=1)
        seen += ratio.low > 1
        held += ratio.contains(1.6)
    assert seen / 400 > 0.9 and held / 400 > 0.93


@pytest.mark.parametrize("rounds", [1, 2])
def test_what_is_known_of_the_noise_is_worth_what_it_says(rounds):
    """Where sigma^2 is s0^2 d0 / chi^2 with d0 degrees of freedom, as Smyth has it, 95 % of intervals hold: no more."""
    rng, tries, held = np.random.default_rng([11, rounds]), 2000, 0
    for sigma in 0.1 * np.sqrt(4 / rng.chisquare(4, tries)):
        figures = drifting(rng, ratios=(1.6, 1), rounds=rounds, noise=sigma, drift=0.35)
        held += fit(figures, NoisePrior(sigma=0.1, freedom=4)).ratio(0, 1, comparisons=1).contains(1.6)
    assert held / tries == pytest.approx(0.95, abs=0.015)  # three standard errors


def test_bad_figures_and_intervals_are_refused():
    with pytest.raises(ValueError, match="positive figure"):
        fit(np.array([[1.0, 2.0], [NAN, NAN]]))
    with pytest.raises(ValueError, match="positive figure"):
        fit(np.array([[1.0, 0.0]]))
    with pytest.raises(ValueError, match="positive figure"):
        fit(np.array([[1.0, 2.0], [-3.0, NAN]]))
    for value, low, high in ((1.0, 2.0, 3.0), (4.0, 2.0, 3.0), (1.0, -0.5, 3.0), (NAN, 0.0, 1.0)):
        with pytest.raises(ValueError, match="low <= value"):
            Estimate(value, low, high)
    for sigma, freedom in ((-0.1, 4.0), (0.1, -4.0), (NAN, 4.0), (0.1, NAN)):
        with pytest.raises(ValueError, match="0 or more is needed"):
            NoisePrior(sigma, freedom)


def test_an_interval_has_its_ends_in_it():
    estimate = Estimate(1.1, 1.0, 1.25)
    assert [estimate.contains(value) for value in (0.999, 1.0, 1.1, 1.25, 1.2501)] == [False, True, True, True, False]
    assert estimate.bounded and not Estimate(1.0, 0.0, math.inf).bounded


@pytest.mark.parametrize(
    ("low", "high", "near"),
    [
        (1 / 1.05, 1.05, True),
        (0.952, 1.05, False),
        (1 / 1.05, 1.0501, False),
        (0.96, 1.04, True),
        (0.0, math.inf, False),
    ],
)
def test_near_to_1_is_measured_as_a_factor_both_ways(low, high, near):
    assert Estimate(1.0, low, high).within(0.05) is near
    assert Estimate(1.0, 0.6, 1.0).within(0.5) is False and Estimate(1.0, 2 / 3, 1.5).within(0.5) is True


def test_without_a_degree_of_freedom_there_is_no_interval_and_with_one_there_is():
    once = np.array([[100.0], [150.0]])
    assert math.isnan(fit(once).sigma) and not fit(once).mean(0).bounded
    assert not fit(once, NoisePrior(0.1, 0.9)).ratio(0, 1, comparisons=1).bounded
    one = fit(once, NoisePrior(0.1, 1.0)).ratio(1, 0, comparisons=1)
    half = stats.t.ppf(0.975, 1) * 0.1 * math.sqrt(2)
    assert (one.low, one.value, one.high) == pytest.approx((1.5 * math.exp(-half), 1.5, 1.5 * math.exp(half)))


def test_more_comparisons_make_every_interval_wider_by_bonferroni():
    blocks = fit(drifting(np.random.default_rng(4), ratios=(1, 1.2, 0.7), rounds=3, noise=0.1, drift=0.3))
    widths = [
        math.log(blocks.ratio(0, 1, comparisons=m).high / blocks.ratio(0, 1, comparisons=m).value) for m in (1, 2, 5)
    ]
    factors = stats.t.ppf(1 - 0.05 / (2 * np.array([1, 2, 5])), 4)
    assert np.array(widths) / widths[0] == pytest.approx(factors / factors[0])


def test_a_ratio_turned_round_is_its_reciprocal():
    blocks = fit(drifting(np.random.default_rng(6), ratios=(1, 1.2, 0.7), rounds=3, noise=0.1, drift=0.3))
    there, back = blocks.ratio(0, 2, comparisons=2), blocks.ratio(2, 0, comparisons=2)
    assert (back.low, back.value, back.high) == pytest.approx((1 / there.high, 1 / there.value, 1 / there.low))


def test_nothing_depends_on_the_order_of_configurations_or_rounds_nor_on_the_unit():
    rng = np.random.default_rng(8)
    figures = drifting(rng, ratios=(1, 1.2, 0.7, 0.9), rounds=3, noise=0.1, drift=0.3)
    figures[2, 1] = NAN
    blocks = fit(figures, NoisePrior(0.05, 4))
    rows, columns = rng.permutation(4), rng.permutation(3)
    turned = fit(1000 * figures[rows][:, columns], NoisePrior(0.05, 4))
    assert turned.sigma == pytest.approx(blocks.sigma) and turned.freedom == blocks.freedom
    for one, i in enumerate(rows):
        for other, j in enumerate(rows):
            if i != j:
                a, b = turned.ratio(one, other, comparisons=3), blocks.ratio(int(i), int(j), comparisons=3)
                assert (a.low, a.value, a.high) == pytest.approx((b.low, b.value, b.high))


@pytest.mark.parametrize("rounds", [2, 3, 4])
@pytest.mark.parametrize("missing", [0, 1])
def test_intervals_hold_the_truth_as_often_as_they_say(rounds, missing):
    """All ratios to one configuration together, under drift by a factor of two, in 95 % of comparisons or more."""
    rng = np.random.default_rng([rounds, missing])
    ratios, tries = (1.0, 1.05, 0.9, 0.6), 300
    held = means = 0
    for _ in range(tries):
        figures = drifting(rng, ratios=ratios, rounds=rounds, noise=0.04, drift=0.35)
        truth = figures.copy()
        figures.flat[rng.choice(figures.size, missing, replace=False)] = NAN
        blocks = fit(figures)
        held += all(blocks.ratio(0, j, comparisons=3).contains(1 / ratios[j]) for j in (1, 2, 3))
        off = abs(math.log(blocks.mean(0).value) - np.log(truth[0]).mean())
        # Where no cell is missing it is the mean; a missing one is known to two or three times the noise.
        means += off < (0.1 if missing else 1e-12)
    # 0.95 less two standard errors of a share of 300. Bonferroni may be wider than it need be, but not twice as wide.
    assert 0.92 <= held / tries <= 0.99
    assert means == tries


def test_the_apparent_best_is_not_spoiled_by_having_been_chosen():
    """The true best is among those like the apparent one in 95 % of comparisons or more: here all four are equal."""
    rng, tries, kept = np.random.default_rng(7), 300, 0
    for _ in range(tries):
        blocks = fit(drifting(rng, ratios=(1, 1, 1, 1), rounds=3, noise=0.04, drift=0.35))
        first = int(blocks.mu.argmax())
        kept += blocks.ratio(first, 0, comparisons=3).contains(1) or first == 0
    assert kept / tries >= 0.92


def test_pairs_side_by_side_see_what_averages_apart_in_time_do_not():
    """Under drift by a factor of two, a gain of 20 % is seen in rounds; unpaired it drowns."""
    rng = np.random.default_rng(3)
    seen = unpaired = 0
    for _ in range(200):
        figures = drifting(rng, ratios=(1.2, 1), rounds=4, noise=0.04, drift=0.35)
        seen += fit(figures).ratio(0, 1, comparisons=1).low > 1
        unpaired += stats.ttest_ind(*np.log(figures)).pvalue < 0.05
    assert seen > 180 and unpaired < 40
