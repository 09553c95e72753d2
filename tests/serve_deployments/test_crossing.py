"""Beliefs about the rate at which a limit begins to be broken, against shares that are known."""

import math

import numpy as np
import pytest

from serve_deployments.measuring.crossing import Crossing, Guess
from serve_deployments.measuring.verdict import Evidence


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
