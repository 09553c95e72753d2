"""Several senders who share a load, in virtual time: together they are one sender, and the worst of them is seen."""

import asyncio
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pytest

from serve_deployments.load.sending import OwnSender, Schedule
from serve_deployments.load.team import Team
from serve_deployments.measuring.level import Clients, closed_level, open_level
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.replicas.backend import LoadFailed
from serve_deployments.replicas.fakes import FakeServer, VirtualClock, run_virtual
from serve_deployments.usage import Usage

PLAN = LoadPlan(seed=3)
PAYLOADS = ["a", "b", "c", "d", "e"]


def senders(server, of, clocks=None):
    clocks = clocks or [VirtualClock()] * of
    return [OwnSender(server, PAYLOADS, clock, index, of) for index, clock in enumerate(clocks)]


def team_of(server, of, **kwargs):
    return Team(server, senders(server, of, **kwargs), VirtualClock())


def server_of(fails=lambda number: False):
    return FakeServer(lambda batch: 0.02 + 0.003 * batch, max_batch=8, fails=fails)


def recorded(of, *, late_s=0.0):
    """The record of four seconds at 150 requests/s, and the payloads that arrived."""

    async def level():
        server = server_of(fails=lambda number: number % 10 == 7)
        team = team_of(server, of, clocks=[VirtualClock(late_s=late_s)] * of)
        events = await team.record()
        await team.follow(Schedule(PLAN.arrivals, 150.0, PLAN.seed, 0.0, 1000))
        for tick in range(1, 80):
            await asyncio.sleep(0.05 * tick - asyncio.get_running_loop().time())
            await team.collect()
        await team.quiet(5)
        await team.cancel()
        return events, server

    return run_virtual(level())


@pytest.mark.parametrize("late_s", [0.0, 0.04])
def test_the_union_of_senders_is_one_sender(late_s):
    (one, server), (three, other) = recorded(1, late_s=late_s), recorded(3, late_s=late_s)
    assert len(one.ended_s) > 500 and np.isnan(one.latency_s).sum() > 50
    # Which of a batch ends first is chance: they end at the same time.
    for events in (one, three):
        order = np.lexsort((events.latency_s, events.ended_s))
        events.latency_s = np.array(events.latency_s)[order]
    np.testing.assert_allclose(three.ended_s, one.ended_s, rtol=0, atol=1e-9)
    np.testing.assert_allclose(three.latency_s, one.latency_s, rtol=0, atol=1e-9)
    # Late ones that are not sent yet are estimated, from the rate: by each sender for itself.
    np.testing.assert_allclose(three.in_flight, one.in_flight, atol=0 if not late_s else 6)
    assert other.payloads == server.payloads and len(set(server.payloads)) == 5
    assert sorted(three.late[0]) == pytest.approx(sorted(one.late[0]))


def test_in_flight_is_what_the_server_sees():
    async def level():
        server = server_of()
        seen = []

        class Watching:
            async def infer(self, payload):
                await server.infer(payload)
                seen.append(server.in_flight)

        endpoint = Watching()
        team = Team(endpoint, senders(endpoint, 3), VirtualClock())
        events = await team.record()
        await team.follow(Schedule(PLAN.arrivals, 40.0, PLAN.seed, 0.0, 1000))
        await asyncio.sleep(3)
        await team.cancel()
        return events.in_flight, seen

    in_flight, seen = run_virtual(level())
    answered = min(len(in_flight), len(seen))
    # It counts the one that ends, and those of its batch whose answers come after it.
    assert all(0 <= mine - theirs <= 8 for mine, theirs in zip(in_flight[: answered - 9], seen, strict=False))


@pytest.mark.parametrize("concurrency", [1, 2, 7])
def test_clients_are_dealt_out(concurrency):
    server = FakeServer(lambda batch: 0.05, cores=100)
    load = run_virtual(closed_level(team_of(server, 3), PAYLOADS, concurrency, PLAN))
    assert load.achieved_rps == pytest.approx(concurrency / 0.05, rel=0.02) and load.senders == 3
    assert server.most_in_flight == concurrency and server.in_flight == 0
    alone = run_virtual(
        closed_level(FakeServer(lambda batch: 0.05, cores=100), PAYLOADS, concurrency, PLAN, clock=VirtualClock())
    )
    assert load.achieved_rps == pytest.approx(alone.achieved_rps, rel=0.01)


def test_an_open_level_is_the_same_from_several():
    loads = [run_virtual(open_level(team_of(server_of(), of), PAYLOADS, 60.0, PLAN)) for of in (1, 3)]
    assert loads[1].achieved_rps == pytest.approx(loads[0].achieved_rps, rel=0.05)
    assert loads[1].latencies.p95_ms == pytest.approx(loads[0].latencies.p95_ms, rel=0.1)


def test_too_many_in_flight_are_too_many_of_all():
    server = FakeServer(lambda batch: 3600.0)
    load = run_virtual(open_level(team_of(server, 3), PAYLOADS, 100.0, PLAN, max_in_flight=30))
    assert load.overloaded and 28 <= server.most_in_flight <= 30


@pytest.mark.parametrize("worst", [dict(late_s=0.2), dict(cpu_share=0.95)])
@pytest.mark.parametrize("mode", ["open", "closed"])
def test_one_of_three_that_cannot_keep_up_is_seen(worst, mode):
    server = FakeServer(lambda batch: 0.02, cores=9)
    team = team_of(server, 3, clocks=[VirtualClock(), VirtualClock(cpu_share=0.3), VirtualClock(**worst)])
    level = open_level(team, PAYLOADS, 50.0, PLAN) if mode == "open" else closed_level(team, PAYLOADS, 6, PLAN)
    load = run_virtual(level)
    assert load.client_limited
    if "late_s" in worst:
        assert load.client_lag_ms == pytest.approx(200, rel=0.01)
    else:
        assert load.client_cpu_share == pytest.approx(0.95)


@dataclass
class Dies(OwnSender):
    """A sender whose process ends."""

    at_s: float = 1.0

    async def log(self):
        if self.clock.now() > self.at_s:
            raise LoadFailed("a sender has ended")
        return await super().log()


@pytest.mark.parametrize("mode", ["open", "closed"])
def test_a_sender_that_dies_fails_the_level_and_the_others_stop(mode):
    async def level():
        server = FakeServer(lambda batch: 0.05, cores=9)
        alive = OwnSender(server, PAYLOADS, VirtualClock(), 0, 2)
        team = Team(server, [alive, Dies(server, PAYLOADS, VirtualClock(), 1, 2)], VirtualClock())
        with pytest.raises(LoadFailed, match="has ended"):
            if mode == "open":
                await open_level(team, PAYLOADS, 50.0, LoadPlan(level_min_s=5))
            else:
                await closed_level(team, PAYLOADS, 4, LoadPlan(level_min_s=5))
        return server.in_flight, len(asyncio.all_tasks())

    assert run_virtual(level()) == (0, 1)


@pytest.mark.parametrize("mode", ["open", "closed"])
@pytest.mark.parametrize("places", [1, 3, 8])
def test_a_limited_level_is_held_again_with_more_senders_while_there_is_room(mode, places):
    """Each sender is busy by what it sends; four are enough."""

    async def level():
        server = FakeServer(lambda batch: 0.05, cores=100)
        asked = []

        async def more(have):
            asked.append(have)
            of = min(2 * have, places)
            return senders(server, of, [VirtualClock(cpu_share=2.0 / of)] * of) if of > have else ()

        team = Team(server, senders(server, 1, [VirtualClock(cpu_share=2.0)]), VirtualClock(), more)
        if mode == "open":
            load = await open_level(team, PAYLOADS, 100.0, PLAN)
        else:
            async with Clients(team, PAYLOADS, PLAN) as clients:
                load = await clients.hold(6, PLAN)
        return load, asked, server

    load, asked, server = run_virtual(level())
    assert load.senders == min(places, 4) and load.client_limited == (places < 3)
    assert asked == {1: [1], 3: [1, 2], 8: [1, 2]}[places]
    assert server.in_flight == 0 and max(Counter(server.payloads).values()) <= len(server.payloads) / 5 + 8


def test_a_level_keeps_what_the_server_did():
    class Metered(FakeServer):
        async def usage(self):
            return Usage(seconds=asyncio.get_running_loop().time(), batches={1: len(self.arrived_s) + 1})

    load = run_virtual(open_level(Metered(lambda batch: 0.01), PAYLOADS, 40.0, PLAN, clock=VirtualClock()))
    assert load.usage is not None
    assert load.usage.seconds == pytest.approx(load.ended_at - load.started_at, abs=0.05)
    assert load.usage.batches[1] >= load.completed
    assert type(load).from_dict(load.as_dict()) == load
    old = {key: value for key, value in load.as_dict().items() if key not in ("usage", "senders")}
    assert type(load).from_dict(old) == replace(load, usage=None)


def test_a_server_that_does_not_say_what_it_did_is_not_waited_for():
    class Mute(FakeServer):
        async def usage(self):
            await asyncio.sleep(3600)

    load = run_virtual(closed_level(Mute(lambda batch: 0.01), PAYLOADS, 2, PLAN, clock=VirtualClock()))
    assert load.usage is None and load.steady
