"""Where a search for the highest rate holds its next level, and which of its levels it reports."""

import math
from dataclasses import dataclass, replace
from typing import Any

import pytest
from levels import load

from serve_deployments.load.arrivals import CONSTANT
from serve_deployments.measuring.crossing import Crossing, Guess
from serve_deployments.measuring.highest_rate import (
    _climb_until_broken,
    _is_near,
    _kept,
    _next_rate,
    _opened,
    _probe,
    _speaking,
    highest_rate,
)
from serve_deployments.measuring.level import Clients
from serve_deployments.measuring.level_search import LevelSearch
from serve_deployments.measuring.locating import target_rps
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.replicas.fakes import FakeServer, VirtualClock, run_virtual
from serve_deployments.settings import Settings

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
    return Crossing.about(rate_rps, 1, floor_rps=1.0).guided([Guess(rate_rps, spread, 4.0)])


def passed(rate_rps, mean_s=0.05, **changes):
    return load(rate_rps, latency_s=[mean_s], **changes)


def failed(rate_rps):
    return load(rate_rps, latency_s=[0.3])


def test_closed_levels_and_such_that_broke_a_limit_are_no_answer():
    kept, broke, closed = passed(10.0), failed(20.0), load(clients=4, latency_s=[0.05])
    assert _opened(search(closed, kept, broke)) == [kept, broke]
    assert _kept(search(closed, kept, broke), LIMIT) == [kept]


def test_the_first_level_is_held_where_the_crossing_probably_is():
    crossing = believed(80.0)
    assert _next_rate(search(load(clients=1)), crossing, LIMIT) == target_rps(crossing, 0.05)


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
    crossing = believed(30.0)
    assert _next_rate(search(passed(20.0), failed(40.0)), crossing, LIMIT) == target_rps(crossing, 0.05)
    assert _next_rate(search(passed(20.0), failed(40.0), spent_s=59.0), crossing, LIMIT) == target_rps(crossing, 0.05)


def test_while_all_levels_fail_the_next_is_slower_once_half_of_the_time_is_spent():
    crossing, broke = believed(100.0, 0.3), (failed(90.0), failed(60.0))
    assert _next_rate(search(*broke, spent_s=30.0), crossing, LIMIT) == target_rps(crossing, 0.05)
    assert _next_rate(search(*broke, spent_s=31.0), crossing, LIMIT) == pytest.approx(0.7 * 60)
    wide = believed(50.0, 0.35)
    assert wide.quantile(0.1) < 42 < target_rps(wide, 0.05)
    assert _next_rate(search(*broke, spent_s=31.0), wide, LIMIT) == wide.quantile(0.1)
    floor = replace(crossing, rates=crossing.rates * 50)
    assert _next_rate(search(*broke, spent_s=31.0), floor, LIMIT) == floor.floor_rps == pytest.approx(50.0)


def test_a_belief_that_is_sure_of_a_rate_that_failed_is_tried_below_it():
    sure = believed(100.0, 0.02)
    assert _next_rate(search(failed(90.0)), sure, LIMIT) == pytest.approx(90 / 1.05)
    assert _next_rate(search(failed(150.0)), sure, LIMIT) == target_rps(sure, 0.05)


def test_where_even_the_lowest_rate_breaks_a_limit_that_is_tried():
    crossing = Crossing.about(20.0, 1, floor_rps=2.0)
    for _ in range(4):
        crossing = crossing.cannot(2.0)
    assert crossing.at_floor(0.05) and _next_rate(search(failed(20.0)), crossing, LIMIT) == crossing.floor_rps


def test_of_levels_near_the_rate_the_one_that_saw_most_speaks_else_the_nearest():
    crossing = believed(100.0)
    target = target_rps(crossing, 0.05)
    near = [passed(target / 1.04, completed=500), passed(target * 1.04, completed=300)]
    far = passed(target / 1.2, completed=9000)
    assert [_is_near(one, crossing, PLAN) for one in (*near, far, passed(target * 1.06))] == [True, True, False, False]
    assert _speaking([far, *near], crossing, PLAN) is near[0]
    assert _speaking([far, passed(target * 1.5), passed(target / 2)], crossing, PLAN) is far


# --- the probe


def probed(server, at_most, plan=PLAN):
    async def held():
        made = LevelSearch("highest_rate", server, ["x"], plan, VirtualClock())
        return made, await _probe(made, at_most)

    return run_virtual(held())


def climbed(server, at_most, plan=PLAN):
    async def held():
        made = LevelSearch("highest_rate", server, ["x"], plan, VirtualClock())
        async with Clients(server, ["x"], plan, made.clock) as clients:
            return made, await _climb_until_broken(made, clients, at_most)

    return run_virtual(held())


def clients_of(made):
    return [one.concurrency for one in made.loads]


def test_the_climb_ends_when_the_rate_no_longer_grows_and_knows_then_what_the_server_can_do():
    made, bounded = climbed(FakeServer(lambda size: 0.05), {"error_rate": 0.1})
    assert clients_of(made) == [1, 8] and bounded == 1.05
    made, bounded = climbed(FakeServer(lambda size: 0.05, cores=64), {"error_rate": 0.1})
    assert clients_of(made) == [1, 8, 64, 256] and bounded == 1.05


def test_a_level_that_saw_no_answer_says_nothing_of_the_rate_s_growth():
    made, _ = climbed(FakeServer(lambda size: 5.0, cores=512), {"error_rate": 0.1}, replace(PLAN, total_max_s=16))
    assert made.loads[0].completed == 0 and clients_of(made)[:2] == [1, 8]


def test_the_climb_ends_at_a_limit_that_was_kept_and_is_broken():
    """Eight at once on four cores: twice as long."""
    made, bounded = climbed(FakeServer(lambda size: 0.05, cores=4), {"mean_ms": 60.0})
    # With more than twice 20 requests/s x 60 ms the mean is above the limit: 2 clients are tried, then 4, then 9.
    assert clients_of(made) == [1, 2, 4, 9] and bounded == 1.05
    made, bounded = climbed(FakeServer(lambda size: 0.05, cores=4), {"mean_ms": 250.0})
    assert clients_of(made)[:2] == [1, 8] and 32 <= clients_of(made)[2] <= 40 and bounded == 1.05


def test_the_climb_ends_where_no_more_clients_could_keep_the_limit():
    """Every third request takes half a second: twice the rate of one client times 15 ms is less than one in flight."""
    served = []

    def seldom_slow(size):
        served.append(size)
        return 0.01 if len(served) % 3 else 0.5

    made, bounded = climbed(FakeServer(seldom_slow), {"p50_ms": 15.0})
    assert clients_of(made) == [1] and bounded == 2.0


def test_the_climb_ends_with_the_declared_maximum_and_a_quarter_of_the_time():
    endless: dict[str, Any] = dict(service_s=lambda size: 0.05, cores=10_000)
    made, bounded = climbed(FakeServer(**endless), {"error_rate": 0.1}, replace(PLAN, max_concurrency=20))
    assert clients_of(made) == [1, 8, 20] and bounded == 0.0
    made, bounded = climbed(FakeServer(**endless), {"error_rate": 0.1}, replace(PLAN, total_max_s=2.5))
    assert clients_of(made) == [1, 8] and bounded == 0.0
    made, _ = climbed(FakeServer(**endless), {"error_rate": 0.1}, replace(PLAN, total_max_s=1.5, level_min_s=1.0))
    assert clients_of(made) == [1]


def test_levels_of_the_probe_take_half_the_least_time():
    made, _ = climbed(FakeServer(lambda size: 0.05), {"error_rate": 0.1})
    assert all(0.5 <= one.duration_s < 0.6 for one in made.loads)


def test_the_first_guess_is_four_fifths_of_what_clients_reach_within_the_limits():
    """One server of 50 ms: 20 requests/s with one client, and no more with eight, whose latency is 400 ms."""
    made, crossing = probed(FakeServer(lambda size: 0.05), {"mean_ms": 100.0})
    assert crossing.quantile(0.5) == pytest.approx(0.8 * 20, rel=0.15)
    first = crossing.rates[int(crossing.log_guess[0, :, 0].argmax())]
    assert first == pytest.approx(0.8 * 20, rel=0.02)
    assert crossing.floor_rps == pytest.approx(0.1 * 20, rel=0.02)
    bounds = {1.05 * 20, 2.0 * 20}
    assert min(abs(crossing.ceiling_rps / bound - 1) for bound in bounds) < 0.02


def test_between_what_kept_the_limits_and_what_was_faster_is_the_guess():
    """Eight cores: eight clients reach 160, within the limit; 64 break it and are no faster."""
    made, crossing = probed(FakeServer(lambda size: 0.05 if size < 3 else 0.1, max_batch=8), {"mean_ms": 75.0})
    reached = [one.achieved_rps for one in made.loads]
    kept = max(one.achieved_rps for one in made.loads if one.metrics["mean_ms"] <= 75)
    faster = min((rate for rate in reached if rate > kept), default=kept)
    first = crossing.rates[int(crossing.log_guess[0, :, 0].argmax())]
    assert first == pytest.approx(0.8 * math.sqrt(kept * faster), rel=0.02)


def test_where_the_climb_ended_for_want_of_clients_the_guess_is_higher_by_the_room_that_was_left():
    endless = FakeServer(lambda size: 0.05, cores=10_000)
    made, crossing = probed(endless, {"mean_ms": 200.0}, replace(PLAN, max_concurrency=2))
    first = crossing.rates[int(crossing.log_guess[0, :, 0].argmax())]
    assert first == pytest.approx(0.8 * 40 * math.sqrt(200 / 50), rel=0.02) and crossing.ceiling_rps == math.inf
    made, crossing = probed(endless, {"mean_ms": 50_000.0}, replace(PLAN, max_concurrency=2))
    first = crossing.rates[int(crossing.log_guess[0, :, 0].argmax())]
    assert first == pytest.approx(0.8 * 40 * 8, rel=0.02)  # no more than the next step would bring


def test_that_one_client_breaks_a_limit_is_believed_after_a_level_of_full_length():
    made, crossing = probed(FakeServer(lambda size: 0.12), {"mean_ms": 100.0})
    assert crossing is None and clients_of(made)[-1] == 1 and made.loads[-1].duration_s >= 1.0
    served = []

    def slow_at_first(size):
        served.append(size)
        return 0.12 if len(served) < 20 else 0.05

    made, crossing = probed(FakeServer(slow_at_first), {"mean_ms": 100.0})
    assert crossing is not None and crossing.floor_rps < 2.0


# --- the whole


def test_what_is_said_of_a_search_that_ran_out_of_time_and_of_one_that_did_not():
    def found(**changes):
        plan = LoadPlan(**changes)
        server = FakeServer(lambda size: 0.02)
        return run_virtual(highest_rate(server, ["x"], plan, {"p99_ms": 100}, Settings(), clock=VirtualClock()))

    whole, short = found(arrivals=CONSTANT), found(total_max_s=4.0, rate_precision=0.002)
    assert whole.reason.startswith("the limit is between ") and whole.estimate is None
    assert short.reason.startswith("out of time: the limit is between ")
    for one in (whole, short):
        low, high = one.interval_rps
        assert f"between {low:.3g} and {high:.3g} requests/s" in one.reason and low < high
        assert low < one.metrics["rps"] < high and not one.ended_early
    assert short.estimate is not None and short.metrics["rps"] == short.estimate["rps"]


@pytest.mark.parametrize(("limit_ms", "levels"), [(25.0, 3), (45.0, 1)])
def test_while_no_rate_has_passed_up_to_two_more_are_tried_than_there_is_time_for(limit_ms, levels):
    plan, server = LoadPlan(total_max_s=1.0, level_min_s=1.0), FakeServer(lambda size: 0.02)
    found = run_virtual(highest_rate(server, ["x"], plan, {"p99_ms": limit_ms}, Settings(), clock=VirtualClock()))
    opened = [one for one in found.loads if one.concurrency is None]
    p99_ms = [one.latencies.p99_ms for one in opened]
    assert len(opened) == levels and opened[0].ended_at - found.loads[0].started_at > 1.0
    assert all(late > limit_ms for late in p99_ms[:-1]) and p99_ms[-1] < limit_ms


def test_a_server_that_answers_nothing_at_first_has_a_rate_all_the_same():
    served = []

    def slow_at_first(size):
        served.append(size)
        return 0.7 if len(served) < 2 else 0.02

    plan = replace(PLAN, level_min_s=0.2, level_max_s=0.5)
    made, crossing = probed(FakeServer(slow_at_first), {"mean_ms": 2000.0}, plan)
    assert made.loads[0].achieved_rps == 0 and made.loads[1].achieved_rps > 0
    assert crossing is not None and crossing.floor_rps == pytest.approx(0.1 * made.loads[1].achieved_rps)
    made, crossing = probed(FakeServer(lambda size: 100.0), {"error_rate": 0.5}, plan)
    assert crossing is None and not any(one.achieved_rps for one in made.loads)
