"""What a level keeps of its replica's own account, how long it is held, and when it is held again."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hdrh.histogram import HdrHistogram

from serve_deployments.fakes.virtual_replicas import FakeServer, VirtualClock, run_virtual
from serve_deployments.load.arrivals import CONSTANT
from serve_deployments.load.load_generator import LoadGenerator
from serve_deployments.load.sending import OwnSender
from serve_deployments.measuring.level import Clients, closed_level, open_level
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.measuring.rates.locating import UntilLocated
from serve_deployments.measuring.statistics.rate_posterior import RatePosterior
from serve_deployments.measuring.stopping_rules import UntilKnown, UntilPrecise, UntilSeen
from serve_deployments.resources.usage import Usage

PLAN = LoadPlan(arrivals=CONSTANT, level_max_s=4.0)


def closed(server, concurrency=1, plan=PLAN, **clock):
    return run_virtual(closed_level(server, ["x"], concurrency, plan, clock=VirtualClock(**clock)))


def opened(server, rate_rps=10.0, plan=PLAN, **more):
    return run_virtual(open_level(server, ["x"], rate_rps, plan, clock=VirtualClock(), **more))


class Tells(FakeServer):
    """A server that says of itself what `account` says, asked for the first time, the second, …"""

    def __init__(self, *accounts):
        super().__init__(lambda size: 0.05)
        self.accounts, self.asked = accounts, 0

    async def usage(self):
        self.asked += 1
        said = self.accounts[min(self.asked, len(self.accounts)) - 1]
        if isinstance(said, Exception):
            raise said
        if said is ...:
            await asyncio.sleep(1e6)
        return said


def test_a_level_says_how_many_samples_its_requests_were_taken_from():
    server, clock = FakeServer(lambda size: 0.05), VirtualClock
    assert run_virtual(closed_level(server, ["x", "y", "x"], 1, PLAN, clock=clock())).samples == 3
    assert run_virtual(open_level(server, ["x", "y"], 10.0, PLAN, clock=clock())).samples == 2


@pytest.mark.parametrize("held", [closed, opened])
def test_a_level_keeps_what_the_replica_did_in_it(held):
    load = held(Tells(Usage(seconds=5.0, busy_s=1.0, batches={1: 3}), Usage(seconds=9.0, busy_s=2.5, batches={1: 10})))
    assert (load.usage.seconds, load.usage.busy_s, load.usage.batches) == (4.0, 1.5, {1: 7})


@pytest.mark.parametrize("held", [closed, opened])
@pytest.mark.parametrize(
    "accounts",
    [
        (None,),
        (..., Usage(seconds=1.0)),
        (Usage(seconds=1.0), ...),
        (ConnectionError("busy"),),
        (Usage(seconds=9.0, batches={1: 9}), Usage(seconds=1.0, batches={1: 1})),  # another replica by now
    ],
)
def test_a_replica_that_says_nothing_of_use_is_measured_all_the_same(held, accounts):
    load = held(Tells(*accounts))
    assert load.usage is None and load.completed > 0 and load.ended_at < 10


def test_a_level_is_over_when_its_time_is_up_and_says_when_it_was():
    slow = closed(FakeServer(lambda size: 0.05), plan=LoadPlan(precision=1e-12, level_max_s=3.0))
    assert slow.steady  # always alike
    number = []

    def varies(size):
        number.append(1)
        return 0.02 * (1 + len(number) % 7)

    load = closed(FakeServer(varies), plan=LoadPlan(precision=1e-12, level_max_s=3.0))
    assert not load.steady and load.ended_at - load.started_at == pytest.approx(3.0, abs=0.03)
    assert load.mode == "closed" and load.requested_rps is None and load.concurrency == 1
    of_open = opened(FakeServer(lambda size: 0.05), 2.0)
    assert of_open.mode == "open" and of_open.concurrency is None and of_open.requested_rps == 2.0


@pytest.mark.parametrize(
    ("rule", "growth"),
    [
        (UntilPrecise(PLAN), 1.25),
        (UntilKnown(PLAN, 1000.0, {"p99_ms": 50.0}), 1.1),
        (UntilLocated(PLAN, 1000.0, {"p99_ms": 50.0}, RatePosterior.about(1000.0, 1, floor_rps=10.0)), 1.1),
        (UntilSeen(1.0), 1.0),
    ],
)
def test_a_level_is_looked_at_the_less_often_the_more_a_look_may_be_luck(rule, growth):
    """A thousand answers a second, looked for every 0.02 s: again once so many times as many have come.

    Each look at an interval is a chance to end by luck: with one at every fiftieth more, levels end a quarter sooner.
    """
    seen = []

    class Noted:
        check_after = rule.check_after

        def check(self, events, *, last=False):
            seen.append(events.count)
            return rule.check(events, last=last) if last else None

    server = FakeServer(lambda size: 0.01, cores=10)
    opened(server, 1000.0, replace(PLAN, level_max_s=3.0), rule=Noted())
    looks = seen[:-1]  # the last is when the time is up
    assert looks[-1] > 2000
    for before, now in pairwise(looks):
        assert growth * before < now <= growth * before + 0.02 * 1000 + 2


def latencies_in(load):
    return HdrHistogram.decode(load.latency.histogram).get_total_count()


def test_of_a_closed_level_how_long_is_waited_counts_only_where_nothing_was_answered():
    """A client waits for each answer, so what is under way at the end is no slower than what was answered."""
    number = []

    def varies(size):
        number.append(1)
        return 0.02 * (1 + len(number) % 7)

    answered = closed(FakeServer(varies), 3, LoadPlan(precision=1e-12, level_max_s=3.0))
    assert not answered.steady and latencies_in(answered) == answered.completed > 0
    silent = closed(FakeServer(lambda size: 1e6), 3, LoadPlan(level_max_s=3.0, drain_s=1.0))
    assert silent.completed == 0 and latencies_in(silent) == silent.unanswered == 3
    assert answered.unanswered == 0 and silent.unanswered_s == pytest.approx(3, rel=0.02)
    assert silent.metrics["mean_ms"] == pytest.approx(3000, rel=0.02)


@pytest.mark.parametrize("held", [closed, opened])
def test_the_replicas_account_ends_with_the_level_and_not_once_its_last_answers_have_come(held):
    """Answers take 2.5 s, so that the last ones come long after the level's 4 s."""

    class Timed(FakeServer):
        async def usage(self):
            return Usage(seconds=asyncio.get_running_loop().time())

    load = held(Timed(lambda size: 2.5, cores=1000), plan=replace(PLAN, precision=1e-12, drain_s=5.0))
    assert load.ended_at - load.started_at == pytest.approx(4.0, abs=0.05)
    assert load.usage.seconds == pytest.approx(4.0, abs=0.05)


def test_of_two_bounds_on_what_is_in_flight_the_lower_one_counts():
    for bound, most in ((5, 5), (None, 20), (500, 20)):
        server = FakeServer(lambda size: 100.0)
        load = opened(server, 50.0, LoadPlan(arrivals=CONSTANT, max_in_flight=20), max_in_flight=bound)
        assert load.overloaded and server.most_in_flight == most


def test_a_level_with_limits_ends_once_it_is_known_whether_they_are_kept():
    server: dict[str, Any] = dict(service_s=lambda size: 0.02)
    quick = opened(FakeServer(**server), 40.0, LoadPlan(arrivals=CONSTANT), at_most={"p50_ms": 15.0})
    assert quick.steady and quick.ended_at < 1.0  # it breaks the limit
    kept = opened(FakeServer(**server), 40.0, LoadPlan(arrivals=CONSTANT), at_most={"p50_ms": 25.0})
    assert kept.steady and 1.0 <= kept.ended_at - kept.started_at < 1.5


class Dated(VirtualClock):
    """Its days began in 2001, its monotonic time when the machine was started."""

    def unix_s(self):
        return 1e9 + self.now()


@pytest.mark.parametrize("held", [closed_level, open_level])
def test_when_a_level_began_and_ended_is_told_in_time_of_day(held):
    """Six seconds after the machine was started, and for four."""

    async def level():
        await asyncio.sleep(6.0)
        return await held(FakeServer(lambda size: 0.05), ["x"], 5, replace(PLAN, level_min_s=4.0), clock=Dated())

    load = run_virtual(level())
    assert load.started_at == 1e9 + 6.0 and load.ended_at == pytest.approx(load.started_at + 4.0, abs=0.05)


class Untold(FakeServer):
    """A server that does not report its batches."""

    async def usage(self):
        return None


class Told(FakeServer):
    """Says what took long, though many requests are served at the same time."""

    async def usage(self):
        return replace(await super().usage(), recent=tuple(self._ended))


def answered_and_sent(drain_s, error=None, told=True):
    """Of three clients whose requests take 0.4 s, once the level of a second is over."""
    server = (Told if told else Untold)(lambda size: 0.4, cores=9)

    async def level():
        plan = LoadPlan(precision=1e-12, level_min_s=0.9, level_max_s=0.9, drain_s=drain_s)
        with suppress(ArithmeticError):
            async with Clients(server, ["x"], plan, VirtualClock()) as clients:
                await clients.hold(3, plan)
                if error is not None:
                    raise error
        return len(server._ended), len(server.arrived_s), asyncio.get_running_loop().time()

    answered, sent, ended_s = run_virtual(level())
    assert server.in_flight == 0
    return answered, sent, pytest.approx(ended_s, abs=0.05)


def test_the_last_requests_of_a_closed_loop_are_waited_for_as_long_as_may_be():
    """Sent at 0, 0.4 and 0.8 s: the last three are answered at 1.2 s, 0.3 s after the level."""
    assert answered_and_sent(drain_s=2.0) == (9, 9, 1.2)
    assert answered_and_sent(drain_s=0.1) == (9, 9, 1.2)  # batches took 0.4 s, so the wait is 0.6 s
    assert answered_and_sent(drain_s=0.1, told=False) == (6, 9, 1.0)
    assert answered_and_sent(drain_s=2.0, error=ArithmeticError()) == (6, 9, 0.9)  # all is over: nobody waits


def test_answers_that_come_while_an_overloaded_level_drains_took_as_long_as_they_took():
    """Ten a second, five in flight at most: given up at 0.5 s; of one second each, all have come by 1.4 s.

    Those that have not come when the wait is over are as old as they are then.
    """
    plan = LoadPlan(arrivals=CONSTANT, max_in_flight=5)
    load = opened(FakeServer(lambda size: 1.0, cores=9), 10.0, replace(plan, drain_s=2.0))
    assert load.overloaded and latencies_in(load) == 5
    assert (load.value("mean_ms"), load.value("max_ms")) == (pytest.approx(1000), pytest.approx(1000))
    # At 1.15 s two have come; the others were due at 0.2, 0.3 and 0.4 s.
    load = opened(FakeServer(lambda size: 1.0, cores=9), 10.0, replace(plan, drain_s=0.64))
    assert latencies_in(load) == 5 and load.value("max_ms") == pytest.approx(1000)
    assert load.unanswered == 3 and load.unanswered_s == pytest.approx(0.75, abs=0.012)
    assert load.value("mean_ms") == pytest.approx((1000 + 1000 + 950 + 850 + 750) / 5, abs=12)


def grown(plan, room=3):
    """Levels by senders who are too late, until there are no more of them; how many sent each time they were asked."""
    asked = []

    async def held():
        server, clock = FakeServer(lambda size: 0.05, cores=9), VirtualClock(late_s=0.5)

        async def more(senders):
            asked.append(senders)
            if len(asked) > room:
                return ()
            return [OwnSender(server, ["x"], clock, i, 2 * senders) for i in range(2 * senders)]

        team = LoadGenerator(server, [OwnSender(server, ["x"], clock)], clock, more)
        return await open_level(team, ["x"], 10.0, plan, clock=clock)

    return run_virtual(held()), asked


def test_a_level_whose_senders_were_the_bottleneck_is_held_again_with_more():
    load, asked = grown(LoadPlan(arrivals=CONSTANT, level_max_s=2.0))
    assert asked == [1, 2, 4, 8] and load.senders == 8 and load.client_limited
    # A third of the time of a search may go into that: a level takes 2 s, so that the third would be too late.
    load, asked = grown(LoadPlan(arrivals=CONSTANT, level_max_s=2.0, level_min_s=2.0, total_max_s=14.0))
    assert len(asked) == 2 and load.senders == 4
