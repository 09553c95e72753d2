"""What a level says where other work had the replica's cores: stalls are left out, disturbed levels repeated."""

import math
from dataclasses import replace

import pytest

from serve_deployments.fakes.virtual_replicas import FakeServer, VirtualClock, run_virtual
from serve_deployments.load.events import Events
from serve_deployments.measuring.level import open_level
from serve_deployments.measuring.load_test import LoadTest
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.measuring.rates.crediting import is_disturbed, is_repeated, other_work, shown_by
from serve_deployments.measuring.rates.locating import UntilLocated
from serve_deployments.measuring.statistics.rate_posterior import RatePosterior
from serve_deployments.resources.usage import Usage
from serve_deployments.settings import Settings
from tests.levels import a_level, a_request

PLAN = LoadPlan()
STALLS = tuple((2.1 + 3.3 * number, 0.3) for number in range(10))


def beside(others_s, **changes):
    """A level of ten seconds on one core, of which other processes had so much."""
    usage = Usage(seconds=10.0, others_s=others_s, cores_s=10.0)
    return replace(a_level(50.0, latency_s=[0.05] * 100), usage=usage, started_at=0.0, ended_at=10.0, **changes)


def test_a_level_is_disturbed_by_other_work_unless_it_is_left_out_of_it():
    assert is_disturbed(beside(0.6)) and not is_disturbed(beside(0.4))
    assert not is_disturbed(beside(0.6, stalled=3, stalled_s=0.5))
    # What was left out is the time of the stall, however much else others did, and slowed all batches with.
    assert is_disturbed(beside(5.0, stalled=1, stalled_s=0.5))
    assert is_disturbed(beside(0.6, stalled=3, stalled_s=0.5, overloaded=True))  # a queue that never emptied
    assert not is_disturbed(a_level(50.0, latency_s=[0.05]))  # nothing was reported
    assert not is_disturbed(replace(a_level(clients=4, latency_s=[0.05]), usage=beside(5.0).usage))


def test_a_disturbed_level_is_repeated_while_there_is_time_and_hope():
    alone, disturbed = beside(0.0), beside(5.0)
    assert is_repeated(disturbed, [alone, disturbed], PLAN)
    assert not is_repeated(alone, [alone], PLAN)
    assert not is_repeated(disturbed, [disturbed], PLAN)  # it would be the same again
    assert is_repeated(disturbed, [alone, disturbed, disturbed], PLAN)
    assert not is_repeated(disturbed, [alone, disturbed, disturbed, disturbed], PLAN)  # more than a third of the time


def test_what_other_work_did_is_told():
    assert other_work([beside(0.0)]) == ""
    said = other_work([beside(0.6, stalled=9, stalled_s=0.5), beside(0.0)])
    assert "4.7% of requests were slow at every rate" in said and "repeated" not in said
    assert "1 of 2 levels shared cores with other processes" in other_work([beside(5.0), beside(0.0)])


def test_what_other_work_did_is_told_of_the_levels_in_which_it_is_looked_for():
    """Neither of a closed one, such as the probe's, nor of one that does not report what others use."""
    closed = replace(a_level(clients=64, latency_s=[0.05] * 5000), usage=beside(0.0).usage)
    silent = a_level(50.0, latency_s=[0.05] * 5000)
    looked_at = [beside(5.0, stalled=9, stalled_s=0.5), beside(0.0)]
    assert other_work([closed, silent, *looked_at]) == other_work(looked_at) != ""


def rate_found(**server):
    """Batches of 8 that take 34 ms: about 200 requests/s keep a p99 of 100 ms."""
    test = LoadTest(LoadPlan(level_min_s=0.5, total_max_s=12.0), {"p99_ms": 100.0})
    fake = FakeServer(lambda size: 0.01 + 0.003 * size, max_batch=8, **server)
    return run_virtual(test.run(fake, ["x"], Settings(max_batch_size=8), clock=VirtualClock()))


def test_stalls_of_the_machine_do_not_lower_the_rate():
    alone, stalled = rate_found(), rate_found(stalls=STALLS)
    assert stalled.found and stalled.metrics["p99_ms"] <= 100.0
    assert stalled.metrics["rps"] == pytest.approx(alone.metrics["rps"], rel=0.1)
    assert stalled.rate_low_rps <= alone.metrics["rps"] <= stalled.rate_high_rps
    assert "other processes" in stalled.reason and "other processes" not in alone.reason


@pytest.mark.parametrize("others", [True, False])
def test_stalls_are_left_out_of_a_level_only_where_something_else_explains_them(others):
    """Two of 0.3 s in 8 s; if all cores were free, users would wait as long."""
    plan = LoadPlan(level_min_s=8.0, level_max_s=8.0, precision=1e-9)
    fake = FakeServer(lambda size: 0.01 + 0.003 * size, max_batch=8, stalls=STALLS[:2], stalled_by_others=others)
    level = run_virtual(open_level(fake, ["x"], 100.0, plan, clock=VirtualClock(), background=0.0))
    assert (level.value("p99_ms") < 100.0) is others
    assert 60 <= level.stalled <= 120 if others else level.stalled == 0
    assert level.completed > 700  # they were answered, and count as such
    assert level.stalled_s == pytest.approx(0.6 if others else 0.0, abs=0.1)


class Beside(FakeServer):
    """Other processes also have two fifths of its cores all the time."""

    async def usage(self):
        told = await super().usage()
        return replace(told, others_s=told.others_s + 0.4 * told.seconds, cores_s=told.seconds)


@pytest.mark.parametrize("burst", [True, False])
@pytest.mark.parametrize("background", [0.4, None])
def test_a_services_own_pauses_are_not_explained_by_what_runs_beside_it_all_the_time(burst, background):
    """Nothing is left out where the machine has no stalls, nor where it is not known what runs all the time."""
    plan = LoadPlan(level_min_s=8.0, level_max_s=8.0, precision=1e-9)
    server = Beside(lambda size: 0.01 + 0.003 * size, max_batch=8, stalls=STALLS[:2], stalled_by_others=burst)
    level = run_virtual(open_level(server, ["x"], 100.0, plan, clock=VirtualClock(), background=background))
    assert bool(level.stalled) is (burst and background is not None)


@pytest.mark.parametrize("burst", [True, False])
def test_a_search_knows_what_runs_beside_the_service_all_the_time(burst):
    test = LoadTest(LoadPlan(level_min_s=2.0, total_max_s=30.0), {"p99_ms": 100.0})
    server = Beside(lambda size: 0.01 + 0.003 * size, max_batch=8, stalls=STALLS, stalled_by_others=burst)
    found = run_virtual(test.run(server, ["x"], Settings(max_batch_size=8), clock=VirtualClock()))
    assert any(level.stalled for level in found.levels) is burst


@pytest.mark.parametrize("late", [0, 3])
def test_a_level_shows_its_dropped_requests_and_no_queue_is_compared_with_them(late):
    """Of 300 requests three more were dropped, which is known after the level."""
    rule = UntilLocated(PLAN, 50.0, {"p99_ms": 100.0}, RatePosterior.about(50.0, 1, floor_rps=1.0))
    events = Events(0.0)
    for number in range(300):
        events.end(a_request((number + 1) / 50, 0.01), 1)
    assert rule.check(events) is not None
    for _ in range(late):
        events.end(a_request(6.5, math.nan)._replace(due_s=5.5, parts=0), 1)
    level = a_level(50.0, latency_s=[0.01])
    shown = shown_by(level, rule, [level])
    assert shown is not None and shown.seen[0].above == late and (shown.arrived is None) is (late > 0)
