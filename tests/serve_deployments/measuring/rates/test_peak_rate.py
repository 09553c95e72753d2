"""The climb to a peak: how many clients are tried, which level is reported, and when it is given up."""

import asyncio
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from serve_deployments.endpoint import WHOLE
from serve_deployments.fakes.virtual_replicas import FakeServer, VirtualClock, run_virtual
from serve_deployments.load.arrivals import CONSTANT
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.measuring.rates.peak_rate import _growth, peak_rate
from tests.levels import a_level

PLAN = LoadPlan(arrivals=CONSTANT, max_concurrency=64)


def peak(server, plan=PLAN, to_beat_rps=None):
    return run_virtual(peak_rate(server, ["x"], plan, clock=VirtualClock(), to_beat_rps=to_beat_rps))


def clients_of(found):
    return [one.concurrency for one in found.levels]


def test_clients_are_doubled_until_the_rate_has_not_grown_twice_running():
    found = peak(FakeServer(lambda size: 0.05, cores=4))
    assert clients_of(found) == [1, 2, 4, 8, 16] and found.best.concurrency == 4
    assert found.reason == "beyond 4 clients the rate no longer grew"
    assert found.interval_rps == (found.best.rate_low_rps, found.best.rate_high_rps)
    assert found.metrics["rps"] == pytest.approx(80, rel=0.02) and found.found


def test_the_last_step_is_to_the_declared_maximum():
    found = peak(FakeServer(lambda size: 0.05, cores=1000), replace(PLAN, max_concurrency=6, start_concurrency=2))
    assert clients_of(found) == [2, 4, 6] and found.reason == "reached the maximum of 6 clients (max_concurrency)"


class Crowded:
    """What n requests at once take, so that n clients have the rate that is stated; n of 8 and more that of 4.

    Args:
        cv: how much requests vary: gamma distributed, the same ones for every server.
    """

    def __init__(self, *, cv=0.0, **rates_rps):
        self.rates_rps, self.in_flight = rates_rps, 0
        self.cv, self.rng = cv, np.random.default_rng(0)

    async def infer(self, payload):
        self.in_flight += 1
        try:
            n = self.in_flight
            varied = self.rng.gamma(self.cv**-2, self.cv**2) if self.cv else 1.0
            await asyncio.sleep(varied * n / self.rates_rps.get(f"of_{n}", self.rates_rps["of_4"]))
        finally:
            self.in_flight -= 1
        return WHOLE

    async def usage(self):
        return None


@pytest.mark.parametrize(
    ("more", "tried", "reported"), [(1.015, [1, 2, 4, 8], 2), (1.04, [1, 2, 4, 8], 4), (1.08, [1, 2, 4, 8, 16], 4)]
)
def test_a_rate_that_grows_by_less_than_5_percent_is_flat_and_one_within_2_percent_is_the_same(more, tried, reported):
    found = peak(Crowded(of_1=20.0, of_2=40.0, of_4=40.0 * more))
    assert clients_of(found) == tried and found.best.concurrency == reported


def test_a_doubling_grows_by_no_more_than_the_ends_of_both_intervals_say_and_no_less_than_5_percent():
    slow = a_level(clients=1, rate_low_rps=9.0, rate_high_rps=11.0)
    fast = a_level(clients=2, rate_low_rps=17.0, rate_high_rps=19.8)
    assert _growth([slow, fast]) == pytest.approx(2.2) and _growth([fast, slow]) == 1.05
    assert _growth([]) is None and _growth([slow]) is None
    assert _growth([replace(slow, rate_low_rps=None), fast]) is None
    assert _growth([slow, replace(fast, rate_high_rps=None)]) == float("inf")
    assert _growth([replace(slow, rate_low_rps=1.0), slow, fast]) == pytest.approx(2.2)  # the last


def test_a_peak_is_not_given_up_while_two_more_doublings_may_still_reach_what_is_to_be_beaten():
    """Four cores, 20 requests/s each: after 20 and 40 a rate of 75 is below 80 and stays in reach."""
    server: dict[str, Any] = dict(service_s=lambda size: 0.05, cores=4)
    whole = peak(FakeServer(**server))
    assert peak(FakeServer(**server), to_beat_rps=75.0) == whole
    # 40 x 2 x 2 is 160: a little more can't be reached from there, nor from the next level.
    beaten = peak(FakeServer(**server), to_beat_rps=200.0)
    assert beaten.ended_early and clients_of(beaten) == [1, 2]
    assert beaten.reason.startswith("at most 40 requests/s with 2 clients, so it cannot reach 200 requests/s")
    assert not whole.ended_early


@pytest.mark.parametrize("to_beat_rps", [90.0, 110.0, 119.0, 150.0])
def test_two_more_doublings_are_hoped_for_and_not_one(to_beat_rps):
    """Six cores, 20 requests/s each: after 20 and 40 one doubling may bring 80, and two 160; 8 clients have 120."""
    server: dict[str, Any] = dict(service_s=lambda size: 0.05, cores=6)
    found, whole = peak(FakeServer(**server), to_beat_rps=to_beat_rps), peak(FakeServer(**server))
    assert clients_of(found)[:4] == [1, 2, 4, 8]
    if to_beat_rps < 120:
        assert found == whole and found.metrics["rps"] == pytest.approx(120, rel=0.02)
    assert found.ended_early is (to_beat_rps > 120)


def varying(**rates_rps):
    """Requests that vary so much that a level takes many seconds until its rate is known."""
    return Crowded(cv=0.5, **rates_rps)


SLOWLY_SURE = replace(PLAN, level_max_s=100.0, total_max_s=600.0, precision=0.04)


@pytest.mark.parametrize("of_4", [60.0, 80.0])
def test_a_level_below_what_is_to_be_beaten_is_held_until_it_is_sure_while_doublings_may_still_reach_that(of_4):
    """After 20 and 40 requests/s 150 may still be reached, as two more doublings are hoped for while a level is held.

    Until eight clients have no more than four: by 5 % more, twice, no rate of these is 150.
    """
    rates_rps = dict(of_1=20.0, of_2=40.0, of_4=of_4)
    whole, beaten = peak(varying(**rates_rps), SLOWLY_SURE), peak(varying(**rates_rps), SLOWLY_SURE, to_beat_rps=150.0)
    assert clients_of(beaten) == [1, 2, 4, 8] and beaten.ended_early and not whole.ended_early
    assert beaten.levels == whole.levels[:4] and all(load.steady for load in beaten.levels)


def test_a_level_from_which_two_doublings_surely_cannot_win_is_cut_short():
    """After 20 and 40 requests/s 150 is in reach; four clients have 25 where 150 / 4 would have to be."""
    rates_rps = dict(of_1=20.0, of_2=40.0, of_4=25.0)
    whole, beaten = peak(varying(**rates_rps), SLOWLY_SURE), peak(varying(**rates_rps), SLOWLY_SURE, to_beat_rps=150.0)
    assert clients_of(beaten) == [1, 2, 4] and beaten.ended_early and beaten.best.concurrency == 2
    assert beaten.levels[:2] == whole.levels[:2]
    cut, held = beaten.levels[2], whole.levels[2]
    assert held.steady and not cut.steady and cut.duration_s < 0.5 * held.duration_s
    assert cut.rate_high_rps < 150 / 4 and cut.rate_low_rps < 25.0 < cut.rate_high_rps


def test_a_rate_that_grows_again_is_flat_no_longer():
    """Flat, up, flat, up, and then flat twice running."""
    found = peak(Crowded(of_1=20.0, of_2=20.0, of_4=40.0, of_8=40.0, of_16=80.0, of_32=80.0, of_64=80.0))
    assert clients_of(found) == [1, 2, 4, 8, 16, 32, 64] and found.best.concurrency == 16
    assert found.reason == "beyond 16 clients the rate no longer grew"


def test_of_a_server_that_refuses_everything_nothing_is_found():
    refused = peak(FakeServer(lambda size: 0.05, max_queue=0))
    assert not refused.found and refused.reason.startswith("no request was answered; ")


def test_a_climb_whose_time_is_up_says_so():
    found = peak(FakeServer(lambda size: 0.05, cores=1000), replace(PLAN, total_max_s=4.0))
    assert found.reason == f"out of time after {clients_of(found)[-1]} clients" and 2 <= len(found.levels) <= 4
    assert found.seconds <= 5.0


def test_an_engine_that_drops_requests_has_the_rate_of_the_rest_and_errors():
    """Eight calls at once of 50 ms are 160 a second, of which each 50th has no answer."""
    found = peak(FakeServer(lambda size: 0.05, cores=8, drops=lambda number: number % 50 == 49))
    assert found.metrics["rps"] == pytest.approx(160 * 49 / 50, rel=0.02)
    levels = [one for one in found.levels if 2 <= one.concurrency <= 16]
    errors, answers = sum(one.errors for one in levels), sum(one.completed for one in levels)
    assert errors / (errors + answers) == pytest.approx(1 / 50, rel=0.25)
    assert "no answer within" in next(one.first_error for one in levels if one.errors)
