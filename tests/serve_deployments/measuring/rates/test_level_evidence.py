"""What levels show of the highest rate: each request counts once, be it by its number or beside a simulated queue."""

import math

import numpy as np
import pytest

from serve_deployments.measuring.predicting.calibration import Arrived
from serve_deployments.measuring.rates.level_evidence import LevelEvidence, posterior_of
from serve_deployments.measuring.statistics.limit_verdict import LimitEvidence
from serve_deployments.measuring.statistics.rate_posterior import RatePosterior, RatePrior

FIRST = RatePosterior.about(100.0, 1, floor_rps=10.0)
PRIOR = RatePrior(100.0, 0.1, 4.0)
SLOW = LimitEvidence(share=0.01, above=30.0, count=300.0)
ARRIVED = Arrived(90.0, np.arange(300.0), np.full(300, 0.05), np.ones(300, dtype=bool))


def shown(seen=SLOW, arrived=None, cannot_rps=()):
    return LevelEvidence(90.0, (seen,), cannot_rps, arrived)


def test_slow_requests_of_a_level_that_the_queue_was_compared_with_are_not_counted_beside_its_prior():
    told, counted = (posterior_of(FIRST, [shown(arrived=each)], [PRIOR]) for each in (ARRIVED, None))
    assert told.quantile(0.5) == FIRST.with_priors([PRIOR]).quantile(0.5) > 1.1 * counted.quantile(0.5)


@pytest.mark.parametrize("prior", [None, RatePrior(100.0, 0.5, 4.0)])
def test_they_are_counted_where_no_queue_tells_more_than_the_first_estimate(prior):
    assert posterior_of(FIRST, [shown(arrived=ARRIVED)], [prior]).quantile(0.5) < 0.9 * FIRST.quantile(0.5)


def test_a_limit_that_no_queue_knows_is_decided_by_its_own_requests():
    """Errors: one in ten, where one in a hundred is allowed."""
    first = RatePosterior.about(100.0, 2, floor_rps=10.0)
    both = LevelEvidence(90.0, (SLOW, SLOW), arrived=ARRIVED)
    found = posterior_of(first, [both], [PRIOR, None])
    assert found.counted.tolist() == [0.0, 300.0] and found.quantile(0.5) < 90.0


def test_what_is_certain_and_what_the_server_cannot_do_is_no_count():
    before = posterior_of(FIRST, [], [PRIOR]).quantile(0.9)
    broke = shown(LimitEvidence(share=0.01, certain=True), arrived=ARRIVED)
    for level in (broke, shown(None, ARRIVED, cannot_rps=(90.0,))):
        assert posterior_of(FIRST, [level], [PRIOR]).quantile(0.9) < before


def test_levels_are_added_in_any_order_and_a_mean_is_no_count_either():
    mean = LimitEvidence(log_ratio=math.log(2), error=0.1)
    levels = [shown(), shown(mean), shown(cannot_rps=(95.0,))]
    one, other = (posterior_of(FIRST, each, [PRIOR]) for each in (levels, levels[::-1]))
    assert one.quantile(0.5) == pytest.approx(other.quantile(0.5))
    told = posterior_of(FIRST, [shown(mean, ARRIVED)], [PRIOR])
    assert told.quantile(0.5) == FIRST.with_priors([PRIOR]).quantile(0.5)
