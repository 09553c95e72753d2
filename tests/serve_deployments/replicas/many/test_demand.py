"""How likely a model is asked for: by hand, and against draws from the posterior that the docstring names."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_deployments.replicas.many.choosing.demand import Demand, Demands


def test_without_a_request_the_prior_and_the_exposure_decide():
    # At the start: 1 - 3600 / (3600 + 3600); after very long, with twice the exposure: 1 - 7200 / (7200 + 3600).
    assert Demand(0.0).chance(0.0, 3600.0) == pytest.approx(1 / 2)
    assert Demand(0.0).chance(1e9, 3600.0) == pytest.approx(1 / 3)


def test_requests_count_by_their_age():
    twice = Demand(0.0, memory_s=100.0).after(0.0).after(100 * math.log(2))  # the first counts for a half now
    assert twice.weight == pytest.approx(1.5)
    # S = 1.5, W = 100 (1 - 1/2) = 50: 1 - (150 / 200) ** 2.5
    assert twice.chance(100 * math.log(2), 50.0) == pytest.approx(1 - 0.75**2.5)


def test_the_chance_is_that_of_draws_from_the_posterior():
    demand = Demand(0.0, memory_s=100.0)
    for at_s in (10.0, 20.0, 30.0):
        demand = demand.after(at_s)
    weight = sum(math.exp(-(40.0 - t) / 100) for t in (10, 20, 30))
    exposure = 100 * (1 - math.exp(-0.4))
    rates = np.random.default_rng(0).gamma(1 + weight, 1 / (100 + exposure), 200_000)
    assert demand.chance(40.0, 25.0) == pytest.approx(np.mean(1 - np.exp(-25 * rates)), abs=0.003)


@given(st.lists(st.floats(0, 1e4), max_size=20), st.floats(0, 1e5), st.floats(0, 1e5))
def test_a_chance_is_one_grows_with_the_horizon_and_with_a_request(times, later, within_s):
    demands = Demands(0.0)
    for at_s in sorted(times):
        demands.asked("a", at_s)
    now = max(times, default=0.0) + later
    before = demands.chance("a", now, within_s)
    assert 0 <= before <= demands.chance("a", now, within_s + 1) <= 1
    demands.asked("a", now)
    assert demands.chance("a", now, within_s) >= before
    demands.forget("a")
    assert demands.chance("a", now, within_s) == demands.chance("never asked for", now, within_s)


def test_a_memory_that_is_none_is_refused():
    with pytest.raises(ValueError, match="positive"):
        Demand(0.0, memory_s=0.0)
