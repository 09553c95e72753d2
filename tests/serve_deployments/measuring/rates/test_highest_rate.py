"""Where a search for the highest rate holds its next level, and which of its levels it reports."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve_deployments.fakes.virtual_replicas import FakeServer, VirtualClock, run_virtual
from serve_deployments.load.arrivals import CONSTANT, Renewal
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.measuring.rates import highest_rate as highest_rate_module
from serve_deployments.measuring.rates.highest_rate import (
    _Ended,
    _is_near,
    _kept,
    _next_rate,
    _opened,
    _speaking,
    highest_rate,
)
from serve_deployments.measuring.rates.level_search import LevelSearch
from serve_deployments.measuring.rates.locating import target_rps
from serve_deployments.measuring.statistics.rate_posterior import RatePosterior, RatePrior
from serve_deployments.settings import Settings
from tests.levels import a_level

PLAN = LoadPlan(level_min_s=1.0, total_max_s=60.0)
LIMIT = {"mean_ms": 100.0}


@dataclass
class Stopped:
    time_s: float = 0.0

    def now(self):
        return self.time_s


def search(*loads, spent_s=0.0):
    clock: Any = Stopped()
    made = LevelSearch("highest_rate", None, ["x"], PLAN, clock, list(loads))
    clock.time_s = spent_s
    return made


def believed(rate_rps, spread=0.1):
    return RatePosterior.about(rate_rps, 1, floor_rps=1.0).with_priors([RatePrior(rate_rps, spread, 4.0)])


def passed(rate_rps, mean_s=0.05, **changes):
    return a_level(rate_rps, latency_s=[mean_s], **changes)


def failed(rate_rps):
    return a_level(rate_rps, latency_s=[0.3])


def test_closed_levels_and_such_that_broke_a_limit_are_no_answer():
    kept, broke, closed = passed(10.0), failed(20.0), a_level(clients=4, latency_s=[0.05])
    assert _opened(search(closed, kept, broke)) == [kept, broke]
    assert _kept(search(closed, kept, broke), LIMIT) == [kept]


def test_the_first_level_is_held_where_the_crossing_probably_is():
    posterior = believed(80.0)
    assert _next_rate(search(a_level(clients=1)), posterior, LIMIT) == target_rps(posterior, 0.05)


def test_while_all_levels_pass_the_next_is_where_room_is_left_and_at_most_twice_as_fast():
    """A mean of half the limit: half of the way to what the server can do, or to three times the rate."""
    slow = search(passed(20.0), passed(40.0))
    bounded = replace(believed(30.0), ceiling_rps=100.0)
    assert _next_rate(slow, bounded, LIMIT) == pytest.approx(40 + 30, rel=1e-3)
    assert _next_rate(slow, believed(30.0), LIMIT) == pytest.approx(40 + 40, rel=1e-3)
    full = search(passed(20.0), passed(40.0, mean_s=0.1))
    assert _next_rate(full, bounded, LIMIT) == pytest.approx(40.0, rel=2e-3)
    assert _next_rate(full, replace(bounded, ceiling_rps=10.0), LIMIT) == pytest.approx(40.0, rel=2e-3)
    assert _next_rate(slow, believed(75.0), LIMIT) == pytest.approx(believed(75.0).quantile(0.5) / 1.025, rel=0.1)
    assert _next_rate(slow, believed(500.0), LIMIT) == 80.0
    idle = search(passed(20.0, mean_s=0.001))
    assert _next_rate(idle, replace(believed(500.0), ceiling_rps=1000.0), LIMIT) == 40.0


def test_between_a_level_that_passed_and_one_that_failed_the_belief_decides():
    posterior = believed(30.0)
    assert _next_rate(search(passed(20.0), failed(40.0)), posterior, LIMIT) == target_rps(posterior, 0.05)
    assert _next_rate(search(passed(20.0), failed(40.0), spent_s=59.0), posterior, LIMIT) == target_rps(posterior, 0.05)


def test_while_all_levels_fail_the_next_is_slower_once_half_of_the_time_is_spent():
    posterior, broke = believed(100.0, 0.3), (failed(90.0), failed(60.0))
    assert _next_rate(search(*broke, spent_s=30.0), posterior, LIMIT) == target_rps(posterior, 0.05)
    assert _next_rate(search(*broke, spent_s=31.0), posterior, LIMIT) == pytest.approx(0.7 * 60)
    wide = believed(50.0, 0.35)
    assert wide.quantile(0.1) < 42 < target_rps(wide, 0.05)
    assert _next_rate(search(*broke, spent_s=31.0), wide, LIMIT) == wide.quantile(0.1)
    floor = replace(posterior, rates=posterior.rates * 50)
    assert _next_rate(search(*broke, spent_s=31.0), floor, LIMIT) == floor.floor_rps == pytest.approx(50.0)


def test_a_belief_that_is_sure_of_a_rate_that_failed_is_tried_below_it():
    sure = believed(100.0, 0.02)
    assert _next_rate(search(failed(90.0)), sure, LIMIT) == pytest.approx(90 / 1.05)
    assert _next_rate(search(failed(150.0)), sure, LIMIT) == target_rps(sure, 0.05)


def test_where_even_the_lowest_rate_breaks_a_limit_that_is_tried():
    posterior = RatePosterior.about(20.0, 1, floor_rps=2.0)
    for _ in range(4):
        posterior = posterior.cannot(2.0)
    assert posterior.at_floor(0.05) and _next_rate(search(failed(20.0)), posterior, LIMIT) == posterior.floor_rps


def test_of_levels_near_the_rate_the_one_that_saw_most_speaks_else_the_nearest():
    posterior = believed(100.0)
    target = target_rps(posterior, 0.05)
    near = [passed(target / 1.04, completed=500), passed(target * 1.04, completed=300)]
    far = passed(target / 1.2, completed=9000)
    assert [_is_near(one, posterior, PLAN) for one in (*near, far, passed(target * 1.06))] == [True, True, False, False]
    assert _speaking([far, *near], posterior, PLAN) is near[0]
    assert _speaking([far, passed(target * 1.5), passed(target / 2)], posterior, PLAN) is far


# --- the whole


def test_what_is_said_of_a_search_that_ran_out_of_time_and_of_one_that_did_not():
    def found(**changes):
        plan = LoadPlan(**changes)
        server = FakeServer(lambda size: 0.02)
        return run_virtual(highest_rate(server, ["x"], plan, {"p99_ms": 100}, Settings(), clock=VirtualClock()))

    whole, short = found(arrivals=CONSTANT), found(total_max_s=4.0, rate_precision=0.002)
    assert whole.reason.startswith("the highest rate is between ") and whole.estimate is None
    assert short.reason.startswith("out of time: the highest rate is between ")
    for one in (whole, short):
        low, high = one.interval_rps
        assert f"between {low:.3g} and {high:.3g} requests/s" in one.reason and low < high
        assert low < one.metrics["rps"] < high and not one.ended_early
    assert short.estimate is not None and short.metrics["rps"] == short.estimate["rps"]


@pytest.mark.parametrize(("limit_ms", "levels"), [(25.0, 3), (45.0, 1)])
def test_while_no_rate_has_passed_up_to_two_more_are_tried_than_there_is_time_for(limit_ms, levels):
    plan, server = LoadPlan(total_max_s=1.0, level_min_s=1.0), FakeServer(lambda size: 0.02)
    found = run_virtual(highest_rate(server, ["x"], plan, {"p99_ms": limit_ms}, Settings(), clock=VirtualClock()))
    opened = [one for one in found.levels if one.concurrency is None]
    p99_ms = [one.value("p99_ms") for one in opened]
    assert len(opened) == levels and opened[0].ended_at - found.levels[0].started_at > 1.0
    assert all(late > limit_ms for late in p99_ms[:-1]) and p99_ms[-1] < limit_ms


def test_requests_that_are_dropped_fail_and_break_a_limit_on_errors_at_every_rate():
    """Each 50th: more than one in a hundred, less than one in twenty."""

    def found(most):
        server = FakeServer(lambda size: 0.05, cores=8, drops=lambda number: number % 50 == 49)
        at_most = {"p90_ms": 200.0, "error_rate": most}
        plan = LoadPlan(total_max_s=30.0, level_min_s=4.0)
        return run_virtual(highest_rate(server, ["x"], plan, at_most, Settings(), clock=VirtualClock()))

    allowed, broke = found(0.05), found(0.01)
    assert allowed.found and 130 < allowed.metrics["rps"] < 180
    of = [one for one in allowed.levels if one.mode == "open"]
    errors = sum(one.errors for one in of)
    assert errors / (errors + sum(one.completed for one in of)) == pytest.approx(1 / 50, rel=0.25)
    assert not broke.found or broke.metrics["rps"] < 50


def located(monkeypatch, posterior, *held):
    """The result of a search that knows this after these levels."""

    async def locate(search, *_):
        search.levels += held
        return _Ended(posterior)

    monkeypatch.setattr(highest_rate_module, "_locate", locate)
    server = FakeServer(lambda size: 0.002)
    return run_virtual(highest_rate(server, ["x"], PLAN, LIMIT, Settings(), clock=VirtualClock()))


@pytest.mark.parametrize("client_limited", [False, True])
def test_a_level_far_from_a_rate_that_is_known_is_not_reported_as_that_rate(monkeypatch, client_limited):
    """There was no time for one nearer: of a level at 390 the rate is an estimate, in the interval beside it."""
    posterior, held = believed(780.0, spread=0.04), passed(390.0, client_limited=client_limited)
    found = located(monkeypatch, posterior, held)
    assert found.found and found.levels[found.reported] is held and found.client_limited == client_limited
    assert (
        found.metrics["rps"] == pytest.approx(target_rps(posterior, PLAN.rate_precision)) and found.metrics["rps"] > 700
    )
    assert found.reason.startswith("out of time: the highest rate is between ")


@pytest.mark.parametrize("part", [0.96, 1.04])
def test_the_interval_of_a_rate_holds_what_is_reported_however_narrow_it_is(monkeypatch, part):
    """All to half a per cent; the level that is reported is near the target, which is just below."""
    posterior = believed(1000.0, spread=0.0025)
    for _ in range(3):
        posterior = posterior.cannot(1003.0)
    rate_rps = part * target_rps(posterior, PLAN.rate_precision)
    found = located(monkeypatch, posterior, passed(rate_rps))
    low_rps, high_rps = found.interval_rps
    assert found.metrics["rps"] == pytest.approx(rate_rps) and low_rps <= found.metrics["rps"] <= high_rps
    assert found.estimate is None and low_rps <= posterior.quantile(0.025) and high_rps >= posterior.quantile(0.975)


@settings(max_examples=10, deadline=None)
@given(
    st.floats(0.002, 0.2), st.floats(1.2, 30.0), st.sampled_from([1.0, 4.0, 15.0]), st.integers(0, 10**6),
    st.sampled_from([0.0, 1.0, 3.0]), st.sampled_from([None, 0.3, 3.0]),
)  # fmt: skip
def test_whatever_the_service_the_rate_lies_in_its_interval(service_s, room, total_s, seed, cv, beaten_by):
    plan = LoadPlan(seed=seed, total_max_s=total_s, level_min_s=0.2, arrivals=Renewal(cv) if cv else CONSTANT)
    server, at_most = FakeServer(lambda size: service_s), {"p99_ms": 1e3 * room * service_s}
    to_beat_rps = None if beaten_by is None else beaten_by / service_s
    found = run_virtual(
        highest_rate(server, ["x"], plan, at_most, Settings(), clock=VirtualClock(), to_beat_rps=to_beat_rps)
    )
    if found.interval_rps is not None:
        low_rps, high_rps = found.interval_rps
        assert low_rps <= found.metrics["rps"] <= high_rps
    for level in found.levels:
        assert level.rate_low_rps is None or level.rate_low_rps <= level.achieved_rps <= level.rate_high_rps


# --- where no rate is found


LIMIT_MAX = {"max_ms": 50.1}


@pytest.mark.parametrize(
    ("held", "slowest", "said"),
    [
        ([failed(9.0), failed(2.0), passed(2.0)], 1, "at 2 requests/s: max_ms is 300, the limit 50.1"),
        ([failed(9.0), passed(2.0), failed(2.0)], 2, "at 2 requests/s: max_ms is 300, the limit 50.1"),
        ([failed(9.0), failed(3.0), passed(2.0)], 1, "at 3 requests/s: max_ms is 300, the limit 50.1"),
        (
            [failed(9.0), replace(passed(3.0), overloaded=True, achieved_rps=1.5), passed(2.0)], 1,
            "at 3 requests/s: overloaded, only 1.5 requests/s were answered",
        ),
    ],
)  # fmt: skip
def test_where_the_lowest_rate_probably_breaks_a_limit_the_slowest_level_that_did_is_reported_and_how(
    monkeypatch, held, slowest, said
):
    """Whatever else kept it: that was luck."""
    hopeless = RatePosterior.about(20.0, 1, floor_rps=2.0)
    for _ in range(4):
        hopeless = hopeless.cannot(2.0)

    async def located(search, *_):
        search.levels += held
        return _Ended(hopeless)

    monkeypatch.setattr(highest_rate_module, "_locate", located)
    server = FakeServer(lambda size: 0.05)
    found = run_virtual(highest_rate(server, ["x"], PLAN, LIMIT_MAX, Settings(), clock=VirtualClock()))
    assert not found.found and found.levels[found.reported] is held[slowest]
    assert found.reason.startswith(f"{said}; ")


@pytest.mark.parametrize(("seed", "cv", "least_s"), [(813392, 1.0, 1.0), (444688, 3.0, 1.0), (864916, 1.0, 0.2)])
def test_a_search_without_an_answer_says_which_limit_was_broken(seed, cv, least_s):
    """Random arrivals meet at any rate, and then one takes longer than its service; some short level is lucky."""

    class Silent(FakeServer):
        async def usage(self):
            return None

    plan = LoadPlan(seed=seed, total_max_s=15.0, level_min_s=least_s, arrivals=Renewal(cv))
    server = Silent(lambda size: 0.05)
    found = run_virtual(highest_rate(server, ["x"], plan, LIMIT_MAX, Settings(), clock=VirtualClock()))
    slowest = found.levels[found.reported]
    assert not found.found and slowest.value("max_ms") > 50.1
    assert f"at {slowest.requested_rps:.3g} requests/s: max_ms is {slowest.value('max_ms'):.4g}, the" in found.reason
