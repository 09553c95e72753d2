"""Beliefs about the rate at which a limit begins to be broken, against shares that are known."""

import math

import numpy as np
import pytest

from serve_deployments.measuring.statistics.limit_verdict import LimitEvidence
from serve_deployments.measuring.statistics.rate_posterior import RatePosterior, RatePrior


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
    posterior = RatePosterior.about(first_rps, 1, floor_rps=1.0)
    for _ in range(40):
        rate_rps = posterior.quantile(0.5)
        share = share_above(rate_rps, capacity_rps, limit_s) if rate_rps < capacity_rps else 1.0
        above = rng.binomial(150, min(share, 1.0))
        posterior = posterior.after(rate_rps, [LimitEvidence(share=0.01, above=above, count=150)])
    assert posterior.quantile(0.5) == pytest.approx(true_rps, rel=0.08)
    assert posterior.spread < 0.1


def test_the_first_limit_to_break_decides():
    """No failure in 5000 requests says that there is room; the tail says that there is none."""
    tail, errors = LimitEvidence(share=0.01, above=50, count=5000), LimitEvidence(share=0.01, above=0, count=5000)
    both = RatePosterior.about(100.0, 2, floor_rps=1.0).after(100.0, [tail, errors])
    alone = RatePosterior.about(100.0, 1, floor_rps=1.0).after(100.0, [tail])
    assert both.quantile(0.5) == pytest.approx(alone.quantile(0.5), rel=0.01)


def test_luck_of_bursts_does_not_move_the_belief():
    """Bursts of ten: one level in ten has one, and by its own design effect would weigh a tenth of the others."""
    rng, middles = np.random.default_rng(3), []
    for _ in range(40):
        posterior = RatePosterior.about(100.0, 1, floor_rps=1.0)
        for burst in rng.random(30) < 0.1:
            posterior = posterior.after(
                100.0, [LimitEvidence(share=0.01, above=10.0 * burst, count=100, effect=10.0 if burst else 1.0)]
            )
        middles.append(posterior.quantile(0.5))
    assert np.exp(np.mean(np.log(middles))) == pytest.approx(100.0, rel=0.05)


def test_a_mean_is_believed_by_its_error():
    posterior = RatePosterior.about(100.0, 1, floor_rps=1.0)
    over = posterior.after(100.0, [LimitEvidence(log_ratio=0.5, error=0.02)])
    under = posterior.after(100.0, [LimitEvidence(log_ratio=-0.5, error=0.02)])
    assert over.below(100.0) > 0.99 and under.below(100.0) < 0.01


def test_what_breaks_at_the_lowest_rate_is_given_up():
    posterior = RatePosterior.about(20.0, 1, floor_rps=2.0)
    assert not posterior.at_floor(0.05)
    for _ in range(3):
        posterior = posterior.after(2.0, [LimitEvidence(certain=True)])
    assert posterior.at_floor(0.05)


def test_a_ceiling_is_doubted_only_if_levels_pass_above_it():
    posterior = RatePosterior.about(80.0, 1, floor_rps=1.0, ceiling_rps=100.0)
    assert posterior.below(120.0) > 0.9
    for _ in range(4):
        posterior = posterior.after(130.0, [LimitEvidence(share=0.01, above=0, count=1000)])
    assert posterior.below(120.0) < 0.1
    assert posterior.cannot(150.0).below(150.0) > 0.9


def test_a_good_prior_is_believed_until_levels_say_otherwise():
    rough = RatePosterior.about(300.0, 1, floor_rps=1.0)
    prior = RatePrior(rate_rps=80.0, spread=0.1, steepness=4.0)
    updated = rough.with_priors([prior])
    assert updated.quantile(0.5) == pytest.approx(80.0, rel=0.02) and updated.spread == pytest.approx(0.11, rel=0.1)
    assert rough.with_priors([None]).quantile(0.5) == rough.quantile(0.5)
    unsure = RatePrior(rate_rps=80.0, spread=0.9, steepness=4.0)
    assert rough.with_priors([unsure]).quantile(0.5) == rough.quantile(0.5)
    # Of errors no queue knows anything: they leave the rest as it is until there are some.
    with_errors = RatePosterior.about(300.0, 2, floor_rps=1.0).with_priors([prior, None])
    assert with_errors.quantile(0.5) == pytest.approx(80.0, rel=0.05)
    many = LimitEvidence(share=0.01, above=50, count=500)
    assert with_errors.after(60.0, [None, many]).below(60.0) > 0.95
    # Half of all requests above the limit, ten times: that is too fast, and the prior is given up.
    for _ in range(10):
        updated = updated.after(80.0, [LimitEvidence(share=0.01, above=100, count=200)])
    assert updated.below(79.0) > 0.95
    again = updated.with_priors(
        [RatePrior(rate_rps=50.0, spread=0.1, steepness=4.0)]
    )  # a new prior leaves what levels showed
    assert 0.05 < again.below(60.0) < 0.95 and again.below(79.0) > 0.95


# --- by hand


def at(posterior, rate_rps):
    """Index of the grid's rate that is nearest."""
    return int(np.argmin(abs(posterior.rates - rate_rps)))


def test_rates_reach_from_the_floor_to_far_above_the_first_estimate_in_steps_of_a_hundredth():
    posterior = RatePosterior.about(100.0, 2, floor_rps=5.0)
    assert posterior.floor_rps == posterior.rates[0] == pytest.approx(5.0)
    assert posterior.rates[-1] == pytest.approx(6400.0, rel=0.011)
    assert np.diff(np.log(posterior.rates)) == pytest.approx(0.01)
    assert posterior.log_prior.shape == (2, posterior.rates.size, 7)
    assert RatePosterior.about(3.0, 1, floor_rps=5.0).floor_rps == pytest.approx(3.0)


def test_the_first_estimate_is_believed_as_cauchys_distribution_of_a_factor_of_one_and_a_half():
    """Cut off at 1/64 and 64 times; half of a Cauchy distribution is within its width."""
    posterior = RatePosterior.about(100.0, 1, floor_rps=100.0 / 64)
    whole = math.atan(math.log(64) / math.log(1.5))
    assert posterior.quantile(0.5) == pytest.approx(100.0, rel=0.01)
    assert posterior.below(150.0) - posterior.below(100.0 / 1.5) == pytest.approx(math.pi / 4 / whole, rel=0.02)
    assert posterior.below(800.0) == pytest.approx((1 + math.atan(math.log(8) / math.log(1.5)) / whole) / 2, rel=0.01)


def test_a_ceiling_is_known_to_a_tenth_and_doubted_by_a_thousand_to_one():
    posterior = RatePosterior.about(100.0, 1, floor_rps=1.0, ceiling_rps=200.0)
    for rate_rps, expected in ((150.0, 0.0), (200 * math.exp(0.1), -0.5), (200 * math.exp(0.2), -2.0)):
        assert posterior.log_shown[0, at(posterior, rate_rps), 0] == pytest.approx(expected, abs=0.11)
    assert posterior.log_shown[0, at(posterior, 4000.0), 0] == pytest.approx(-math.log(1000))
    assert posterior.ceiling_rps == 200.0 and RatePosterior.about(1.0, 1, floor_rps=1.0).ceiling_rps == math.inf
    assert not RatePosterior.about(100.0, 1, floor_rps=1.0).log_shown.any()


def test_counted_requests_are_binomial_with_log_odds_that_rise_with_the_logarithm_of_the_rate():
    """At R the share allowed; a rate e times as high has log(1 / share) x a more."""
    share, above, count, rate_rps = 0.05, 30, 400, 90.0
    posterior = RatePosterior.about(100.0, 2, floor_rps=1.0)
    seen = posterior.after(rate_rps, [None, LimitEvidence(share=share, above=above, count=count, effect=4.0)])
    for index in (at(posterior, 60.0), at(posterior, 90.0), at(posterior, 110.0)):
        for column, steepness in enumerate((0.5, 1, 2, 4, 8, 16, 32)):
            odds = math.log(share / (1 - share)) + math.log(1 / share) * steepness * math.log(
                rate_rps / posterior.rates[index]
            )
            p = min(max(1 / (1 + math.exp(-odds)), 1e-6), 1 - 1e-6)
            expected = above * math.log(p) + (count - above) * math.log(1 - p)
            assert seen.log_counted[1, index, column] == pytest.approx(expected)
    assert not seen.log_counted[0].any() and not seen.log_shown.any()
    assert seen.counted.tolist() == [0, 400] and seen.independent.tolist() == [0, 100]
    twice = seen.after(rate_rps, [None, LimitEvidence(share=share, above=above, count=count, effect=4.0)])
    assert twice.counted.tolist() == [0, 800] and twice.independent.tolist() == [0, 200]
    assert twice.log_counted == pytest.approx(2 * seen.log_counted)
    assert not posterior.counted.any() and not posterior.log_counted.any()  # the belief before is left as it was


def test_requests_in_bursts_tell_as_much_as_so_many_fewer():
    posterior = RatePosterior.about(100.0, 1, floor_rps=1.0)
    bursts = posterior.after(100.0, [LimitEvidence(share=0.01, above=100, count=5000, effect=10.0)])
    fewer = posterior.after(100.0, [LimitEvidence(share=0.01, above=10, count=500)])
    assert [bursts.quantile(q) for q in (0.1, 0.5, 0.9)] == pytest.approx([fewer.quantile(q) for q in (0.1, 0.5, 0.9)])


def test_a_mean_tells_by_a_normal_error_of_its_logarithm():
    posterior = RatePosterior.about(100.0, 1, floor_rps=1.0)
    seen = posterior.after(90.0, [LimitEvidence(log_ratio=0.3, error=0.2)])
    index = at(posterior, 70.0)
    for column, steepness in enumerate((0.5, 1, 2, 4, 8, 16, 32)):
        off = (0.3 - steepness * math.log(90.0 / posterior.rates[index])) / 0.2
        assert seen.log_shown[0, index, column] == pytest.approx(-(off**2) / 2)
    assert not seen.log_counted.any() and not seen.counted.any()


def test_what_surely_broke_at_a_rate_is_broken_from_no_higher_one_but_for_an_accident():
    posterior = RatePosterior.about(100.0, 1, floor_rps=1.0)
    for seen in (posterior.after(90.0, [LimitEvidence(share=0.01, certain=True)]), posterior.cannot(90.0)):
        assert seen.log_shown[0, at(posterior, 95.0), 3] == pytest.approx(math.log(0.02))
        assert seen.log_shown[0, at(posterior, 85.0), 3] == 0.0
    assert posterior.cannot(90.0).cannot(90.0).log_shown.min() == pytest.approx(2 * math.log(0.02))


def test_a_prior_is_students_t_of_four_degrees_and_its_steepness_is_known_to_a_factor_of_two():
    posterior = RatePosterior.about(300.0, 1, floor_rps=1.0).with_priors([RatePrior(80.0, 0.1, 4.0)])
    for probability, t in ((0.5, 0.0), (0.75, 0.7407), (0.95, 2.1318), (0.025, -2.7764)):
        assert math.log(posterior.quantile(probability) / 80) == pytest.approx(0.1 * t, abs=0.006)
    middle = posterior.log_prior[0, at(posterior, 80.0)]
    assert middle - middle.max() == pytest.approx([-4.5, -2.0, -0.5, 0.0, -0.5, -2.0, -4.5])


def test_a_limit_without_a_prior_is_broken_no_sooner_than_the_others():
    priors = [RatePrior(90.0, 0.1, 4.0), None, RatePrior(60.0, 0.2, 4.0), RatePrior(50.0, 0.5, 4.0)]
    posterior = RatePosterior.about(300.0, 4, floor_rps=1.0).with_priors(
        priors
    )  # the last is less sure than the first estimate
    for limit in (1, 3):
        low, middle, high = (posterior.log_prior[limit, at(posterior, rate), 2] for rate in (30.0, 60.0, 500.0))
        assert middle == pytest.approx(0.0, abs=1e-3) and high == 0.0
        assert low == pytest.approx(-2.5 * math.log1p((math.log(2) / 0.2) ** 2 / 4), abs=0.05)
        assert np.ptp(posterior.log_prior[limit], axis=1).max() == 0  # of its steepness nothing is known


def test_the_lowest_of_all_limits_counts():
    """Two limits that are as likely to be broken from a rate on: neither is with (1 - p)^2."""
    alone, both = (RatePosterior.about(100.0, limits, floor_rps=1.0) for limits in (1, 2))
    for rate_rps in (60.0, 100.0, 200.0):
        assert 1 - both.below(rate_rps) == pytest.approx((1 - alone.below(rate_rps)) ** 2, rel=1e-4)
    assert both.quantile(both.below(77.0)) == pytest.approx(77.0, rel=1e-6)


FOUR = RatePosterior(
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
    posterior = RatePosterior.about(300.0, 1, floor_rps=1.0).with_priors([RatePrior(80.0, 0.1, 4.0)])
    assert posterior.spread == pytest.approx(math.log(posterior.quantile(0.8413) / posterior.quantile(0.1587)) / 2)
    assert posterior.spread == pytest.approx(0.1 * 1.1416, abs=0.003)  # t of four degrees at 84.13 %


def test_the_interval_that_is_believed_covers_the_rate_in_93_to_97_of_a_hundred_runs():
    """Rates and steepnesses are drawn as the prior has them, requests as a queue of them has: then 95 % must be 95 %.

    Of a thousand runs the share has a standard deviation of 0.7 %.
    """
    rng, covered, above, runs = np.random.default_rng(0), 0, 0, 1000
    first = RatePosterior.about(100.0, 1, floor_rps=10.0).with_priors([RatePrior(100.0, 0.2, 4.0)])
    steepnesses = 2.0 ** np.arange(-1, 6)
    weights = np.exp(-(np.log2(steepnesses / 4.0) ** 2) / 2)
    for _ in range(runs):
        true_rps = 100.0 * math.exp(0.2 * rng.standard_t(4))
        steepness = rng.choice(steepnesses, p=weights / weights.sum())
        posterior = first
        for rate_rps in (first.quantile(0.3), first.quantile(0.6)):
            odds = math.log(0.05 / 0.95) + math.log(20) * steepness * math.log(rate_rps / true_rps)
            # In bursts of two: twice as many requests, which are worth as much.
            seen = 2 * rng.binomial(150, 1 / (1 + math.exp(-odds)))
            posterior = posterior.after(rate_rps, [LimitEvidence(share=0.05, above=seen, count=300, effect=2.0)])
        covered += posterior.quantile(0.025) <= true_rps <= posterior.quantile(0.975)
        above += posterior.quantile(0.5) < true_rps
    assert 0.93 <= covered / runs <= 0.97
    assert 0.45 <= above / runs <= 0.55  # 3 standard deviations of 1.6 %
