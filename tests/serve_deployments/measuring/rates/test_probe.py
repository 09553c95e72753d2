"""The probe with which a search for the highest rate begins: closed levels that say where to look."""

import math
from dataclasses import replace
from typing import Any

import pytest

from serve_deployments.fakes.virtual_replicas import FakeServer, VirtualClock, run_virtual
from serve_deployments.measuring.level import Clients
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.measuring.rates.level_search import LevelSearch
from serve_deployments.measuring.rates.probe import _climb_until_broken, probe

PLAN = LoadPlan(level_min_s=1.0, level_max_s=20.0, total_max_s=60.0, max_concurrency=256)


def probed(server, at_most, plan=PLAN):
    async def held():
        made = LevelSearch("highest_rate", server, ["x"], plan, VirtualClock())
        return made, await probe(made, at_most)

    return run_virtual(held())


def climbed(server, at_most, plan=PLAN, largest=1):
    async def held():
        made = LevelSearch("highest_rate", server, ["x"], plan, VirtualClock())
        async with Clients(server, ["x"], plan, made.clock) as clients:
            return made, await _climb_until_broken(made, clients, at_most, largest)

    return run_virtual(held())


def clients_of(made):
    return [one.concurrency for one in made.levels]


def test_the_climb_ends_when_the_rate_no_longer_grows_and_knows_then_what_the_server_can_do():
    made, bounded = climbed(FakeServer(lambda size: 0.05), {"error_rate": 0.1})
    assert clients_of(made) == [1, 8] and bounded == 1.05
    made, bounded = climbed(FakeServer(lambda size: 0.05, cores=64), {"error_rate": 0.1})
    assert clients_of(made) == [1, 8, 64, 256] and bounded == 1.05


def test_a_server_alone_is_watched_for_four_requests_and_asked_by_no_more_clients_than_can_be_answered_in_time():
    """Four of 5 s; a third of the 140 s left is time for four turns of two batches, each of as many as are known."""
    slow = replace(PLAN, total_max_s=160.0, level_max_s=10.0)
    made, _ = climbed(FakeServer(lambda size: 5.0, cores=512), {"error_rate": 0.1}, slow)
    assert made.levels[0].completed == 3 and made.levels[0].warmup_s == pytest.approx(5.0)
    assert clients_of(made)[:2] == [1, 4]
    made, _ = climbed(FakeServer(lambda size: 5.0, max_batch=8), {"error_rate": 0.1}, slow, largest=8)
    assert clients_of(made)[:2] == [1, 8]
    hurried = replace(slow, total_max_s=30.0)
    made, bounded = climbed(FakeServer(lambda size: 5.0, cores=512), {"error_rate": 0.1}, hurried)
    assert clients_of(made) == [1] and bounded == 0.0


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
    assert clients_of(made) == [1, 6] and bounded == 0.0
    made, _ = climbed(FakeServer(**endless), {"error_rate": 0.1}, replace(PLAN, total_max_s=1.5, level_min_s=1.0))
    assert clients_of(made) == [1]


def test_levels_of_the_probe_take_half_the_least_time():
    made, _ = climbed(FakeServer(lambda size: 0.05), {"error_rate": 0.1})
    assert all(0.5 <= one.duration_s < 0.6 for one in made.levels)


def test_a_server_that_does_not_answer_is_waited_for_as_long_as_a_search_may_take():
    for stretch in (1.0, 10.0):
        made, bounded = climbed(FakeServer(lambda size: 1e6), {"mean_ms": 100.0}, replace(PLAN, stretch=stretch))
        assert clients_of(made) == [1] and bounded == 0.0
        assert made.levels[0].ended_at - made.levels[0].started_at == pytest.approx(60.0, abs=0.05)


def first_of(posterior):
    """Its first estimate, to a hundredth, as rates in it are that far apart."""
    return posterior.rates[int(posterior.log_prior[0, :, 0].argmax())]


@pytest.mark.parametrize(
    ("server", "limit_ms", "clients", "reached_rps", "first_rps"),
    [
        # 50 ms each: 20 requests/s with one client, and no more with four, whose latency is 200 ms.
        (dict(), 100.0, [1, 4], 20.0, 0.8 * 20),
        # 30 with three, in batches that take twice as long and so break the limit: between 20 and 30.
        (dict(service_s=lambda size: 0.05 if size < 3 else 0.1, max_batch=8), 75.0, [1, 3], 30.0, 0.8 * math.sqrt(600)),
        # Eight cores: 160 with eight clients, within the limit, and no more with 64, whose latency is 400 ms.
        (dict(cores=8), 300.0, [1, 8, 64], 160.0, 0.8 * 160),
    ],
)
def test_the_first_estimate_is_four_fifths_of_what_clients_reach_within_the_limits_or_between_that_and_what_is_faster(
    server, limit_ms, clients, reached_rps, first_rps
):
    made, posterior = probed(FakeServer(**{"service_s": lambda size: 0.05, **server}), {"mean_ms": limit_ms})
    assert clients_of(made) == clients and first_of(posterior) == pytest.approx(first_rps, rel=0.011)
    # A tenth of what one client has is the least that is tried, 5 % more than was reached the most that can be.
    assert posterior.floor_rps == pytest.approx(2.0) and posterior.ceiling_rps == pytest.approx(1.05 * reached_rps)
    assert posterior.quantile(0.5) == pytest.approx(first_rps, rel=0.15)


def test_where_the_climb_ended_for_want_of_clients_the_estimate_is_higher_by_the_room_that_was_left():
    endless = FakeServer(lambda size: 0.05, cores=10_000)
    made, posterior = probed(endless, {"mean_ms": 200.0}, replace(PLAN, max_concurrency=2))
    assert (
        first_of(posterior) == pytest.approx(0.8 * 40 * math.sqrt(200 / 50), rel=0.02)
        and posterior.ceiling_rps == math.inf
    )
    made, posterior = probed(endless, {"mean_ms": 50_000.0}, replace(PLAN, max_concurrency=2))
    assert first_of(posterior) == pytest.approx(0.8 * 40 * 8, rel=0.02)  # no more than the next step would bring


def test_that_one_client_breaks_a_limit_is_believed_after_a_level_of_full_length():
    made, posterior = probed(FakeServer(lambda size: 0.12), {"mean_ms": 100.0})
    assert posterior is None and clients_of(made)[-1] == 1 and made.levels[-1].duration_s >= 1.0
    served = []

    def slow_at_first(size):
        served.append(size)
        return 0.12 if len(served) < 20 else 0.05

    made, posterior = probed(FakeServer(slow_at_first), {"mean_ms": 100.0})
    assert posterior is not None and posterior.floor_rps < 2.0


def test_a_server_whose_first_answer_takes_long_has_a_rate_all_the_same():
    served = []

    def slow_at_first(size):
        served.append(size)
        return 0.7 if len(served) < 2 else 0.02

    plan = replace(PLAN, level_min_s=0.2, level_max_s=0.5)
    made, posterior = probed(FakeServer(slow_at_first), {"mean_ms": 2000.0}, plan)
    assert made.levels[0].warmup_s == pytest.approx(0.7) and made.levels[0].achieved_rps == pytest.approx(50.0)
    assert posterior is not None and posterior.floor_rps == pytest.approx(0.1 * 50.0)
    made, posterior = probed(FakeServer(lambda size: 100.0), {"error_rate": 0.5}, plan)
    assert posterior is None and not any(one.achieved_rps for one in made.levels)
