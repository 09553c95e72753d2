"""Beliefs about the rate at which a limit begins to be broken, against shares that are known."""

import math

import numpy as np
import pytest

from serve_deployments.measuring.statistics.limit_verdict import Evidence
from serve_deployments.measuring.statistics.rate_posterior import Crossing, Guess


def share_above(rate_rps, capacity_rps, limit_s):
    """P(latency > limit) in an M/M/1 queue."""
    return math.exp(-(capacity_rps - rate_rps) * limit_s)


def limit_at(rate_rps, capacity_rps, share=0.01):
    """The limit that is broken from this rate on."""
    return math.log(1 / share) / (capacity_rps - rate_rps)


@pytest.mark.parametrize("first_rps", [30.0, 80.0, 150.0])
@pytest.mark.parametrize("load", [0.5, 0.8, 0.95])
def test_levels_lead_to_the_crossing_wherever_the_first_is(first_rps, load):
    true_rps, capacity_rps, rng = 80.0, 80.0 / load, np.random.default_rng(5)
    limit_s = limit_at(true_rps, capacity_rps)
    crossing = Crossing.about(first_rps, 1, floor_rps=1.0)
    for _ in range(40):
        rate_rps = crossing.quantile(0.5)
        share = share_above(rate_rps, capacity_rps, limit_s) if rate_rps < capacity_rps else 1.0
        above = rng.binomial(150, min(share, 1.0))
        crossing = crossing.after(rate_rps, [Evidence(share=0.01, above=above, count=150)])
    assert crossing.quantile(0.5) == pytest.approx(true_rps, rel=0.08)
    assert crossing.spread < 0.1


def test_the_first_limit_to_break_decides():
    """No failure in 5000 requests says that there is room; the tail says that there is none."""
    tail, errors = Evidence(share=0.01, above=50, count=5000), Evidence(share=0.01, above=0, count=5000)
    both = Crossing.about(100.0, 2, floor_rps=1.0).after(100.0, [tail, errors])
    alone = Crossing.about(100.0, 1, floor_rps=1.0).after(100.0, [tail])
    assert both.quantile(0.5) == pytest.approx(alone.quantile(0.5), rel=0.01)


def test_luck_of_bursts_does_not_move_the_belief():
    """Bursts of ten: one level in ten has one, and by its own design effect would weigh a tenth of the others."""
    rng, middles = np.random.default_rng(3), []
    for _ in range(40):
        crossing = Crossing.about(100.0, 1, floor_rps=1.0)
        for burst in rng.random(30) < 0.1:
            crossing = crossing.after(
                100.0, [Evidence(share=0.01, above=10.0 * burst, count=100, effect=10.0 if burst else 1.0)]
            )
        middles.append(crossing.quantile(0.5))
    assert np.exp(np.mean(np.log(middles))) == pytest.approx(100.0, rel=0.05)


def test_a_mean_is_believed_by_its_error():
    crossing = Crossing.about(100.0, 1, floor_rps=1.0)
    over = crossing.after(100.0, [Evidence(log_ratio=0.5, error=0.02)])
    under = crossing.after(100.0, [Evidence(log_ratio=-0.5, error=0.02)])
    assert over.below(100.0) > 0.99 and under.below(100.0) < 0.01


def test_what_breaks_at_the_lowest_rate_is_given_up():
    crossing = Crossing.about(20.0, 1, floor_rps=2.0)
    assert not crossing.at_floor(0.05)
    for _ in range(3):
        crossing = crossing.after(2.0, [Evidence(certain=True)])
    assert crossing.at_floor(0.05)


def test_a_ceiling_is_doubted_only_if_levels_pass_above_it():
    crossing = Crossing.about(80.0, 1, floor_rps=1.0, ceiling_rps=100.0)
    assert crossing.below(120.0) > 0.9
    for _ in range(4):
        crossing = crossing.after(130.0, [Evidence(share=0.01, above=0, count=1000)])
    assert crossing.below(120.0) < 0.1
    assert crossing.cannot(150.0).below(150.0) > 0.9


def test_a_good_guess_is_believed_until_levels_say_otherwise():
    rough = Crossing.about(300.0, 1, floor_rps=1.0)
    guess = Guess(rate_rps=80.0, spread=0.1, steepness=4.0)
    guided = rough.guided([guess])
    assert guided.quantile(0.5) == pytest.approx(80.0, rel=0.02) and guided.spread == pytest.approx(0.11, rel=0.1)
    assert rough.guided([None]).quantile(0.5) == rough.quantile(0.5)
    unsure = Guess(rate_rps=80.0, spread=0.9, steepness=4.0)
    assert rough.guided([unsure]).quantile(0.5) == rough.quantile(0.5)
    # Of errors no queue knows anything: they leave the rest as it is until there are some.
    with_errors = Crossing.about(300.0, 2, floor_rps=1.0).guided([guess, None])
    assert with_errors.quantile(0.5) == pytest.approx(80.0, rel=0.05)
    many = Evidence(share=0.01, above=50, count=500)
    assert with_errors.after(60.0, [None, many]).below(60.0) > 0.95
    # Half of all requests above the limit, ten times: that is too fast, and the guess is given up.
    for _ in range(10):
        guided = guided.after(80.0, [Evidence(share=0.01, above=100, count=200)])
    assert guided.below(79.0) > 0.95
    again = guided.guided([Guess(rate_rps=50.0, spread=0.1, steepness=4.0)])  # a new guess leaves what levels showed
    assert 0.05 < again.below(60.0) < 0.95 and again.below(79.0) > 0.95


# --- by hand


def at(crossing, rate_rps):
    """Index of the grid's rate that is nearest."""
    return int(np.argmin(abs(crossing.rates - rate_rps)))


def test_rates_reach_from_the_floor_to_far_above_the_first_guess_in_steps_of_a_hundredth():
    crossing = Crossing.about(100.0, 2, floor_rps=5.0)
    assert crossing.floor_rps == crossing.rates[0] == pytest.approx(5.0)
    assert crossing.rates[-1] == pytest.approx(6400.0, rel=0.011)
    assert np.diff(np.log(crossing.rates)) == pytest.approx(0.01)
    assert crossing.log_guess.shape == (2, crossing.rates.size, 7)
    assert Crossing.about(3.0, 1, floor_rps=5.0).floor_rps == pytest.approx(3.0)


def test_the_first_guess_is_believed_as_cauchys_distribution_of_a_factor_of_one_and_a_half():
    """Cut off at 1/64 and 64 times; half of a Cauchy distribution is within its width."""
    crossing = Crossing.about(100.0, 1, floor_rps=100.0 / 64)
    whole = math.atan(math.log(64) / math.log(1.5))
    assert crossing.quantile(0.5) == pytest.approx(100.0, rel=0.01)
    assert crossing.below(150.0) - crossing.below(100.0 / 1.5) == pytest.approx(math.pi / 4 / whole, rel=0.02)
    assert crossing.below(800.0) == pytest.approx((1 + math.atan(math.log(8) / math.log(1.5)) / whole) / 2, rel=0.01)


def test_a_ceiling_is_known_to_a_tenth_and_doubted_by_a_thousand_to_one():
    crossing = Crossing.about(100.0, 1, floor_rps=1.0, ceiling_rps=200.0)
    for rate_rps, expected in ((150.0, 0.0), (200 * math.exp(0.1), -0.5), (200 * math.exp(0.2), -2.0)):
        assert crossing.log_shown[0, at(crossing, rate_rps), 0] == pytest.approx(expected, abs=0.11)
    assert crossing.log_shown[0, at(crossing, 4000.0), 0] == pytest.approx(-math.log(1000))
    assert crossing.ceiling_rps == 200.0 and Crossing.about(1.0, 1, floor_rps=1.0).ceiling_rps == math.inf
    assert not Crossing.about(100.0, 1, floor_rps=1.0).log_shown.any()


def test_counted_requests_are_binomial_with_log_odds_that_rise_with_the_logarithm_of_the_rate():
    """At R the share allowed; a rate e times as high has log(1 / share) x a more."""
    share, above, count, rate_rps = 0.05, 30, 400, 90.0
    crossing = Crossing.about(100.0, 2, floor_rps=1.0)
    seen = crossing.after(rate_rps, [None, Evidence(share=share, above=above, count=count, effect=4.0)])
    for index in (at(crossing, 60.0), at(crossing, 90.0), at(crossing, 110.0)):
        for column, steepness in enumerate((0.5, 1, 2, 4, 8, 16, 32)):
            odds = math.log(share / (1 - share)) + math.log(1 / share) * steepness * math.log(
                rate_rps / crossing.rates[index]
            )
            p = min(max(1 / (1 + math.exp(-odds)), 1e-6), 1 - 1e-6)
            expected = above * math.log(p) + (count - above) * math.log(1 - p)
            assert seen.log_counted[1, index, column] == pytest.approx(expected)
    assert not seen.log_counted[0].any() and not seen.log_shown.any()
    assert seen.counted.tolist() == [0, 400] and seen.independent.tolist() == [0, 100]
    twice = seen.after(rate_rps, [None, Evidence(share=share, above=above, count=count, effect=4.0)])
    assert twice.counted.tolist() == [0, 800] and twice.independent.tolist() == [0, 200]
    assert twice.log_counted == pytest.approx(2 * seen.log_counted)
    assert not crossing.counted.any() and not crossing.log_counted.any()  # the belief before is left as it was


def test_requests_in_bursts_tell_as_much_as_so_many_fewer():
    crossing = Crossing.about(100.0, 1, floor_rps=1.0)
    bursts = crossing.after(100.0, [Evidence(share=0.01, above=100, count=5000, effect=10.0)])
    fewer = crossing.after(100.0, [Evidence(share=0.01, above=10, count=500)])
    assert [bursts.quantile(q) for q in (0.1, 0.5, 0.9)] == pytest.approx([fewer.quantile(q) for q in (0.1, 0.5, 0.9)])


def test_a_mean_tells_by_a_normal_error_of_its_logarithm():
    crossing = Crossing.about(100.0, 1, floor_rps=1.0)
    seen = crossing.after(90.0, [Evidence(log_ratio=0.3, error=0.2)])
    index = at(crossing, 70.0)
    for column, steepness in enumerate((0.5, 1, 2, 4, 8, 16, 32)):
        off = (0.3 - steepness * math.log(90.0 / crossing.rates[index])) / 0.2
        assert seen.log_shown[0, index, column] == pytest.approx(-(off**2) / 2)
    assert not seen.log_counted.any() and not seen.counted.any()


def test_what_surely_broke_at_a_rate_is_broken_from_no_higher_one_but_for_an_accident():
    crossing = Crossing.about(100.0, 1, floor_rps=1.0)
    for seen in (crossing.after(90.0, [Evidence(share=0.01, certain=True)]), crossing.cannot(90.0)):
        assert seen.log_shown[0, at(crossing, 95.0), 3] == pytest.approx(math.log(0.02))
        assert seen.log_shown[0, at(crossing, 85.0), 3] == 0.0
    assert crossing.cannot(90.0).cannot(90.0).log_shown.min() == pytest.approx(2 * math.log(0.02))


def test_a_guess_is_students_t_of_four_degrees_and_its_steepness_is_known_to_a_factor_of_two():
    crossing = Crossing.about(300.0, 1, floor_rps=1.0).guided([Guess(80.0, 0.1, 4.0)])
    for probability, t in ((0.5, 0.0), (0.75, 0.7407), (0.95, 2.1318), (0.025, -2.7764)):
        assert math.log(crossing.quantile(probability) / 80) == pytest.approx(0.1 * t, abs=0.006)
    middle = crossing.log_guess[0, at(crossing, 80.0)]
    assert middle - middle.max() == pytest.approx([-4.5, -2.0, -0.5, 0.0, -0.5, -2.0, -4.5])


def test_a_limit_without_a_guess_is_broken_no_sooner_than_the_others():
    guesses = [Guess(90.0, 0.1, 4.0), None, Guess(60.0, 0.2, 4.0), Guess(50.0, 0.5, 4.0)]
    crossing = Crossing.about(300.0, 4, floor_rps=1.0).guided(guesses)  # the last is less sure than the first guess
    for limit in (1, 3):
        low, middle, high = (crossing.log_guess[limit, at(crossing, rate), 2] for rate in (30.0, 60.0, 500.0))
        assert middle == pytest.approx(0.0, abs=1e-3) and high == 0.0
        assert low == pytest.approx(-2.5 * math.log1p((math.log(2) / 0.2) ** 2 / 4), abs=0.05)
        assert np.ptp(crossing.log_guess[limit], axis=1).max() == 0  # of its steepness nothing is known


def test_the_lowest_of_all_limits_counts():
    """Two limits that are as likely to be broken from a rate on: neither is with (1 - p)^2."""
    alone, both = (Crossing.about(100.0, limits, floor_rps=1.0) for limits in (1, 2))
    for rate_rps in (60.0, 100.0, 200.0):
        assert 1 - both.below(rate_rps) == pytest.approx((1 - alone.below(rate_rps)) ** 2, rel=1e-4)
    assert both.quantile(both.below(77.0)) == pytest.approx(77.0, rel=1e-6)


FOUR = Crossing(
    np.array([10.0, 20.0, 30.0, 40.0]), np.log([[[0.1], [0.2], [0.3], [0.4]]]), np.zeros((1, 4, 1)),
    np.zeros((1, 4, 1)), np.zeros(1), np.zeros(1),
)  # fmt: skip
"""One limit that is broken from one of four rates on, by known chances."""


def test_a_rate_is_below_another_with_the_chances_of_all_up_to_it():
    """The chances of 10, 20, 30 and 40 add up to 0.1, 0.3, 0.6 and 1; between two rates along a straight line."""
    for rate_rps, probability in ((10, 0.1), (15, 0.2), (20, 0.3), (25, 0.45), (30, 0.6), (38, 0.92), (40, 1.0)):
        assert FOUR.below(rate_rps) == pytest.approx(probability)
        assert FOUR.quantile(probability) == pytest.approx(rate_rps)
    assert FOUR.quantile(0.0) == 10 and FOUR.below(400.0) == 1.0


def test_at_the_floor_is_what_probably_breaks_within_the_precision_of_it():
    """Up to 20 there are 0.3, up to 27 0.51: a precision of 1 is not enough, and one of 1.7 is."""
    assert FOUR.floor_rps == 10
    assert [FOUR.at_floor(precision) for precision in (0.05, 1.0, 1.65, 1.7, 3.0)] == [False, False, False, True, True]


def test_a_spread_is_half_of_what_68_percent_are_between():
    crossing = Crossing.about(300.0, 1, floor_rps=1.0).guided([Guess(80.0, 0.1, 4.0)])
    assert crossing.spread == pytest.approx(math.log(crossing.quantile(0.8413) / crossing.quantile(0.1587)) / 2)
    assert crossing.spread == pytest.approx(0.1 * 1.1416, abs=0.003)  # t of four degrees at 84.13 %


def test_the_interval_that_is_believed_covers_the_rate_in_93_to_97_of_a_hundred_runs():
    """Rates and steepnesses are drawn as the guess has them, requests as a queue of them has: then 95 % must be 95 %.

    Of a thousand runs the share has a standard deviation of 0.7 %.
    """
    rng, covered, above, runs = np.random.default_rng(0), 0, 0, 1000
    first = Crossing.about(100.0, 1, floor_rps=10.0).guided([Guess(100.0, 0.2, 4.0)])
    steepnesses = 2.0 ** np.arange(-1, 6)
    weights = np.exp(-(np.log2(steepnesses / 4.0) ** 2) / 2)
    for _ in range(runs):
        true_rps = 100.0 * math.exp(0.2 * rng.standard_t(4))
        steepness = rng.choice(steepnesses, p=weights / weights.sum())
        crossing = first
        for rate_rps in (first.quantile(0.3), first.quantile(0.6)):
            odds = math.log(0.05 / 0.95) + math.log(20) * steepness * math.log(rate_rps / true_rps)
            # In bursts of two: twice as many requests, which are worth as much.
            seen = 2 * rng.binomial(150, 1 / (1 + math.exp(-odds)))
            crossing = crossing.after(rate_rps, [Evidence(share=0.05, above=seen, count=300, effect=2.0)])
        covered += crossing.quantile(0.025) <= true_rps <= crossing.quantile(0.975)
        above += crossing.quantile(0.5) < true_rps
    assert 0.93 <= covered / runs <= 0.97
    assert 0.45 <= above / runs <= 0.55  # 3 standard deviations of 1.6 %
