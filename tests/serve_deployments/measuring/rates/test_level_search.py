"""A search's time, and what it makes of its levels."""

from dataclasses import dataclass, replace
from typing import Any

import pytest

from serve_deployments.measuring.plan import LoadPlan, Patience
from serve_deployments.measuring.rates.level_search import LevelSearch, beaten, longest_s
from serve_deployments.resources.usage import BatchTime, Usage
from tests.levels import a_level

PLAN = LoadPlan(level_min_s=1.0, level_max_s=20.0, total_max_s=60.0, seed=7)


@dataclass
class Stopped:
    """A clock that is set by hand."""

    time_s: float = 100.0

    def now(self):
        return self.time_s


def search(*loads, spent_s=0.0, plan=PLAN):
    clock: Any = Stopped()
    made = LevelSearch("highest_rate", None, ["x"], plan, clock, list(loads))
    clock.time_s += spent_s
    return made


def test_a_level_may_take_its_share_of_the_time_that_is_left():
    assert search(spent_s=12.5).spent_s == 12.5
    assert search(spent_s=50.0).level_plan().level_max_s == 10.0
    assert search(spent_s=50.0).level_plan(0.5).level_max_s == 5.0
    assert search(spent_s=10.0).level_plan().level_max_s == 20.0  # no more than the plan says
    assert search(spent_s=59.9).level_plan().level_max_s == 1.0  # nor less than a level is worth
    slow = a_level(10.0, latency_s=[0.5])
    assert search(slow, spent_s=59.9).level_plan().level_max_s == pytest.approx(2.0)  # four latencies
    slower = a_level(10.0, latency_s=[30.0])
    assert search(slower, spent_s=59.9).level_plan().level_max_s == 20.0


def test_no_level_is_begun_that_would_end_after_the_time_is_up():
    assert search(spent_s=59.0).has_time and not search(spent_s=59.1).has_time
    quick, slow = a_level(10.0, latency_s=[0.01]), a_level(10.0, latency_s=[0.5])
    assert search(slow, quick, spent_s=59.0).has_time  # the last level's latency counts
    assert search(quick, slow, spent_s=58.0).has_time and not search(quick, slow, spent_s=58.1).has_time
    silent = a_level(10.0, latency_s=[])
    assert search(silent, spent_s=59.0).has_time and not search(silent, spent_s=59.1).has_time


def test_each_level_has_arrivals_of_its_own_and_the_rest_of_the_plan_is_kept():
    seeds = [search(*[a_level(10.0)] * held).level_plan().seed for held in range(4)]
    assert seeds[0] == 7 and len(set(seeds)) == 4
    others = [search(*[a_level(10.0)] * held, plan=replace(PLAN, seed=8)).level_plan().seed for held in range(4)]
    assert not set(seeds) & set(others)  # trials have neighbouring seeds
    assert replace(search(a_level(10.0)).level_plan(), seed=7, patience=Patience()) == PLAN


def test_a_level_that_has_seen_too_little_may_take_what_is_left_or_as_long_as_a_few_requests():
    quick, slow = a_level(10.0, latency_s=[0.01]), a_level(0.1, latency_s=[9.0])
    assert search().level_plan().patience == Patience(60.0, 16, 60.0)  # the first answer will tell
    assert search(quick, spent_s=20.0).level_plan(0.1).patience == Patience(40.0)
    assert search(quick, spent_s=20.0).level_plan(patience=0.5).patience == Patience(20.0)
    assert search(slow, spent_s=50.0).level_plan().patience.seconds == pytest.approx(36.0)  # four requests
    silent = a_level(10.0, latency_s=[])
    assert search(silent, spent_s=60.0).level_plan().patience == Patience(0.0)


def test_the_time_of_a_search_follows_what_a_request_takes_and_a_batch_is_waited_for():
    stretched = replace(PLAN, stretch=10.0)
    quick, slow, slower = (a_level(1.0, latency_s=[s]) for s in (0.01, 9.0, 60.0))
    assert search(plan=stretched).total_s == search(quick, plan=stretched).total_s == 60.0
    assert search(slow, plan=stretched).total_s == pytest.approx(144.0) and search(slow).total_s == 60.0
    assert search(slower, plan=stretched).total_s == 600.0
    assert search(quick, slow, plan=stretched).request_s == pytest.approx(0.01)  # that of the lightest load
    assert search(slow).level_plan().drain_s == pytest.approx(13.5) and search(quick).level_plan().drain_s == 2.0
    told = replace(slow, usage=Usage(batches={8: 1}, recent=(BatchTime(8, 5.0),)))
    assert search(told).request_s == 5.0 and search(told).level_plan().drain_s == 7.5  # the rest was a queue
    assert longest_s(PLAN) == 60 + 2 * 60 and longest_s(stretched) == 600 + 2 * 240


def test_a_result_says_that_requests_take_long_and_what_that_means():
    slow = a_level(0.1, latency_s=[9.0])

    def reason(plan):
        return search(slow, spent_s=130.0, plan=plan).result(slow, found=True, reason="so").reason

    assert reason(replace(PLAN, stretch=10.0)) == "so; a request takes 9 s, so the load test took 130 s, not 60 s"
    said = "so; a request takes 9 s, and a load test of 60 s is short for it: set load.total_max_s to 144 or more"
    assert reason(PLAN) == f"{said} for a surer rate"


def test_a_limited_client_matters_from_the_reported_level_up():
    slow, reported, fast = (a_level(rate) for rate in (10.0, 20.0, 30.0))
    probe = a_level(clients=50, client_limited=True)

    def limited(*loads):
        return search(*loads).result(reported, found=True, reason="").client_limited

    assert not limited(probe, replace(slow, client_limited=True), reported, fast)
    assert limited(probe, slow, reported, replace(fast, client_limited=True))
    own = replace(reported, client_limited=True)
    assert search(slow, own).result(own, found=True, reason="").client_limited


def test_a_result_says_all_that_the_search_knows():
    first, second, third = a_level(clients=1), a_level(20.0), a_level(20.0)
    found = search(first, second, third, spent_s=9.0).result(
        third, found=False, reason="so", ended_early=True, estimate={"rps": 3.0}, between_rps=(1.0, 4.0)
    )
    assert found.method == "highest_rate" and found.levels == (first, second, third) and found.seconds == 9.0
    assert found.reported == 2  # that level itself, not one that is alike
    assert (found.found, found.reason, found.ended_early) == (False, "so", True)
    assert found.estimate == {"rps": 3.0} and (found.rate_low_rps, found.rate_high_rps) == (1.0, 4.0)
    plain = search(first).result(first, found=True, reason="")
    assert plain.best is first and not plain.ended_early and plain.estimate is None and plain.interval_rps is None


def test_a_level_is_remembered():
    made, level = search(), a_level(10.0)
    assert made.add(level) is level and made.levels == [level]
    assert beaten(123.4) == "it cannot reach 123 requests/s, the rate to beat"
