"""Several senders who share a load, in virtual time: together they are one sender, and the worst of them is seen."""

import asyncio
from collections import Counter
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pytest

from serve_deployments.backend import LoadFailed
from serve_deployments.fakes.virtual_replicas import FakeServer, VirtualClock, run_virtual
from serve_deployments.load.arrivals import CONSTANT, POISSON, Renewal
from serve_deployments.load.events import Events
from serve_deployments.load.load_generator import LoadGenerator
from serve_deployments.load.sending import Log, OwnSender, Schedule
from serve_deployments.measuring.level import Clients, closed_level, open_level
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.measuring.rates.highest_rate import highest_rate
from serve_deployments.resources.usage import Usage
from serve_deployments.settings import Settings
from tests.levels import a_request

PLAN = LoadPlan(seed=3)
PAYLOADS = ["a", "b", "c", "d", "e"]


def senders(server, of, clocks=None):
    clocks = clocks or [VirtualClock()] * of
    return [OwnSender(server, PAYLOADS, clock, index, of) for index, clock in enumerate(clocks)]


def generator_of(server, of, **kwargs):
    return LoadGenerator(server, senders(server, of, **kwargs), VirtualClock())


def server_of(fails=lambda number: False):
    return FakeServer(lambda batch: 0.02 + 0.003 * batch, max_batch=8, fails=fails)


SERVICE_S = 0.1037  # no multiple of any gap here, so that nothing ends just as something is due


def recorded(of, late_s, arrivals=CONSTANT, rate_rps=150.0, look_s=0.0503):
    """The record of a level by senders so late, on a server of which each request has a core of its own."""

    async def level():
        server = FakeServer(lambda batch: SERVICE_S, cores=10_000, fails=lambda number: number % 10 == 7)
        generator = generator_of(server, of, clocks=[VirtualClock(late_s=late) for late in late_s])
        events = await generator.record()
        await generator.follow(Schedule(arrivals, rate_rps, PLAN.seed, 0.0, 1000))
        while asyncio.get_running_loop().time() < 4:
            await asyncio.sleep(look_s)
            await generator.collect()
        await generator.cancel()
        return events, server

    return run_virtual(level())


@pytest.mark.parametrize("look_s", [0.0503, 0.3107])
@pytest.mark.parametrize("late_s", [(0.0,), (0.04,), (0.0,) * 3, (0.04,) * 3, (0.25,) * 5, (0.0, 0.1, 0.037)], ids=str)
def test_senders_record_what_follows_from_their_schedule(late_s, look_s):
    """150 requests/s, dealt out in turn. Each is due as scheduled, sent so much later as its sender is late, answered
    `SERVICE_S` after that, and in flight from when it is due: also while it is not sent yet."""
    events, server = recorded(len(late_s), late_s, look_s=look_s)
    due = np.arange(1000) / 150.0
    sent = due + np.resize(late_s, 1000)
    ended = np.sort(sent + SERVICE_S)
    latency = (np.resize(late_s, 1000) + SERVICE_S)[np.argsort(sent, kind="stable")]
    count = 500
    arrived = np.array(server.arrived_s)
    np.testing.assert_allclose(arrived[:count], np.sort(sent)[:count], rtol=0, atol=1e-9)
    in_turn = [PAYLOADS[number % 5] for number in np.argsort(sent, kind="stable")]
    assert server.payloads[:count] == in_turn[:count]
    np.testing.assert_allclose(events.requests().last_s[:count], ended[:count], rtol=0, atol=1e-9)
    failed = np.arange(count) % 10 == 7
    np.testing.assert_allclose(
        events.requests().latency_s[:count], np.where(failed, np.nan, latency[:count]), rtol=0, atol=1e-9
    )
    in_flight = np.searchsorted(due, ended[:count]) - np.arange(count)
    np.testing.assert_array_equal(events.in_flight[:count], in_flight)
    lags = dict(zip(np.array(late_s), np.array([late_s.count(late) for late in late_s]), strict=True))
    told = np.round(events.late[1], 9)
    assert set(told) == set(lags)
    assert all(
        (told == late).sum() == pytest.approx(600 * share / len(late_s), rel=0.1) for late, share in lags.items()
    )


@pytest.mark.parametrize("of", [1, 3])
def test_of_random_arrivals_the_unsent_are_estimated_by_the_rate(of):
    """From its next request on, which it tells, a late sender has one due every `of` / 150 s on average. So over many
    answers the mean is that of the truth, and none is off by more than the arrivals of 0.1 s can be: 15 +- 5 x 3.9."""
    events, _ = recorded(of, (0.1,) * of, POISSON)
    due = np.array(list(islice(POISSON.offsets(150.0, PLAN.seed), 1000)))
    count = 450
    truth = np.searchsorted(due, due[:count] + 0.1 + SERVICE_S) - np.arange(count)
    off = np.array(events.in_flight[:count]) - truth
    assert abs(off.mean()) < 0.1 * truth.mean() and np.abs(off).max() <= 20


def test_a_batch_of_many_senders_is_one_batch():
    """A server that batches sees the same arrivals from three as from one, so that everything else is the same."""

    def level(of):
        async def main():
            server = server_of()
            generator = generator_of(server, of)
            events = await generator.record()
            await generator.follow(Schedule(POISSON, 150.0, PLAN.seed, 0.0, 1000))
            await asyncio.sleep(4)
            await generator.cancel()
            return server, events

        return run_virtual(main())

    (server, one), (other, three) = level(1), level(3)
    np.testing.assert_allclose(other.arrived_s, server.arrived_s, rtol=0, atol=1e-9)
    assert other.payloads == server.payloads
    np.testing.assert_allclose(three.requests().last_s, one.requests().last_s, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(three.in_flight, one.in_flight)
    # Which of a batch comes first is another matter.
    np.testing.assert_allclose(
        np.sort(three.requests().latency_s), np.sort(one.requests().latency_s), rtol=0, atol=1e-9
    )


@pytest.mark.parametrize("concurrency", [1, 2, 7])
def test_clients_are_dealt_out(concurrency):
    server = FakeServer(lambda batch: 0.05, cores=100)
    load = run_virtual(closed_level(generator_of(server, 3), PAYLOADS, concurrency, PLAN))
    assert load.achieved_rps == pytest.approx(concurrency / 0.05, rel=0.02) and load.senders == 3
    assert server.most_in_flight == concurrency and server.in_flight == 0
    alone = run_virtual(
        closed_level(FakeServer(lambda batch: 0.05, cores=100), PAYLOADS, concurrency, PLAN, clock=VirtualClock())
    )
    assert load.achieved_rps == pytest.approx(alone.achieved_rps, rel=0.01)


def test_an_open_level_is_the_same_from_several():
    loads = [run_virtual(open_level(generator_of(server_of(), of), PAYLOADS, 60.0, PLAN)) for of in (1, 3)]
    # But for when it ends: several are looked at less often.
    assert loads[1].achieved_rps == pytest.approx(loads[0].achieved_rps, rel=0.02)
    assert loads[1].value("p95_ms") == pytest.approx(loads[0].value("p95_ms"), rel=0.02)


def test_too_many_in_flight_are_too_many_of_all():
    server = FakeServer(lambda batch: 3600.0)
    load = run_virtual(open_level(generator_of(server, 3), PAYLOADS, 100.0, PLAN, max_in_flight=30))
    assert load.overloaded and 28 <= server.most_in_flight <= 30


@pytest.mark.parametrize("worst", [dict(late_s=0.2), dict(cpu_share=0.95)])
@pytest.mark.parametrize("mode", ["open", "closed"])
def test_one_of_three_that_cannot_keep_up_is_seen(worst, mode):
    server = FakeServer(lambda batch: 0.02, cores=9)
    generator = generator_of(server, 3, clocks=[VirtualClock(), VirtualClock(cpu_share=0.3), VirtualClock(**worst)])
    level = (
        open_level(generator, PAYLOADS, 50.0, PLAN) if mode == "open" else closed_level(generator, PAYLOADS, 6, PLAN)
    )
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
        generator = LoadGenerator(server, [alive, Dies(server, PAYLOADS, VirtualClock(), 1, 2)], VirtualClock())
        with pytest.raises(LoadFailed, match="has ended"):
            if mode == "open":
                await open_level(generator, PAYLOADS, 50.0, LoadPlan(level_min_s=5))
            else:
                await closed_level(generator, PAYLOADS, 4, LoadPlan(level_min_s=5))
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

        generator = LoadGenerator(server, senders(server, 1, [VirtualClock(cpu_share=2.0)]), VirtualClock(), more)
        if mode == "open":
            load = await open_level(generator, PAYLOADS, 100.0, PLAN)
        else:
            async with Clients(generator, PAYLOADS, PLAN) as clients:
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


def test_a_server_that_does_not_say_what_it_did_is_not_waited_for():
    class Mute(FakeServer):
        async def usage(self):
            await asyncio.sleep(3600)

    load = run_virtual(closed_level(Mute(lambda batch: 0.01), PAYLOADS, 2, PLAN, clock=VirtualClock()))
    assert load.usage is None and load.steady


class Tells(OwnSender):
    """A sender that says what it was made to say."""

    logs: list[Log] = []

    async def log(self):
        return self.logs.pop(0)


def told(*of_each):
    """The generator and its record once each sender has told what it was made to, in as many rounds."""

    async def collected():
        server, team_senders = server_of(), []
        for logs in of_each:
            sender = Tells(server, PAYLOADS, VirtualClock())
            sender.logs = list(logs)
            team_senders.append(sender)
        generator = LoadGenerator(server, team_senders, VirtualClock())
        generator.events = Events(0.0)
        records = []
        for _ in of_each[0]:
            await generator.collect()
            records.append(list(zip(generator.events.requests().last_s, generator.events.in_flight, strict=True)))
        return generator, records

    return run_virtual(collected())


def test_the_record_goes_no_further_than_the_sender_that_told_least():
    """The second tells late of a request that was due at 1 s: at 2 s it was in flight, and the first knew nothing."""
    first = [Log(3.0, [(0.5, None), (2.0, a_request(2.0, 1.5))]), Log(4.0, [])]
    second = [Log(0.9, []), Log(4.0, [(1.0, None), (3.0, a_request(3.0, 2.0))])]
    _, records = told(first, second)
    assert records == [[], [(2.0, 2.0), (3.0, 1.0)]]


@pytest.mark.parametrize("which", [0, 1])
def test_any_sender_that_gives_up_ends_the_level(which):
    logs = [[Log(1.0, [], gave_up=index == which)] for index in range(2)]
    assert told(*logs)[0].gave_up
    assert not told([Log(1.0, [])], [Log(1.0, [])])[0].gave_up


@pytest.mark.parametrize("of", [1, 3])
def test_a_level_that_was_given_up_does_not_end_the_next(of):
    """A server of 20 requests/s: a level of 100 is given up, those of 5 after it are what they are alone."""
    plan = LoadPlan(arrivals=CONSTANT, max_in_flight=10)

    async def held(*rates_rps):
        server = FakeServer(lambda batch: 0.05)
        generator = generator_of(server, of)
        return [await open_level(generator, PAYLOADS, rate_rps, plan) for rate_rps in rates_rps]

    def shown(load):
        return load.completed, load.latency.histogram, load.steady

    hopeless, after, again = run_virtual(held(100.0, 5.0, 5.0))
    [alone] = run_virtual(held(5.0))
    assert hopeless.overloaded and not alone.overloaded
    assert shown(after) == shown(again) == shown(alone)


def test_a_search_by_one_team_finds_what_one_with_a_team_a_level_finds():
    """A load actor keeps its senders from level to level, also after those that were too fast."""

    class Silent(FakeServer):
        async def usage(self):
            return None

    plan = LoadPlan(seed=1, total_max_s=15.0, arrivals=Renewal(3.0))

    def found(kept):
        server = Silent(lambda batch: 0.02)
        endpoint = generator_of(server, 1) if kept else server
        search = highest_rate(endpoint, PAYLOADS, plan, {"p99_ms": 200.0}, Settings(), clock=VirtualClock())
        return run_virtual(search)

    one, each = found(True), found(False)
    assert any(load.overloaded for load in each.levels[:-1])
    assert [(load.overloaded, load.completed) for load in one.levels] == [
        (load.overloaded, load.completed) for load in each.levels
    ]
    assert one.metrics == pytest.approx(each.metrics)


def test_what_a_cancelled_look_at_the_senders_lost_is_in_flight_no_more():
    """A sender in another process forgets what it has told; who was told may be cancelled before writing it down."""

    class Slow(OwnSender):
        async def log(self) -> Log:
            told = await super().log()
            await asyncio.sleep(0.01)
            return told

    async def first_in_flight() -> list[float]:
        server, clock = FakeServer(lambda batch: 0.05, cores=4), VirtualClock()
        generator = LoadGenerator(server, [Slow(server, ["a"], clock, index, 2) for index in range(2)], clock)
        await generator.record()
        await generator.clients(4, 1.0)
        looking = asyncio.create_task(generator.collect())
        await asyncio.sleep(0.005)  # told, and not yet written down
        looking.cancel()
        await generator.cancel()
        events = await generator.record()
        await generator.clients(2, 1.0)
        await asyncio.sleep(0.2)
        await generator.collect()
        await generator.cancel()
        return list(events.in_flight)[:2]

    assert run_virtual(first_in_flight()) == [2, 2]  # each client sends its next request at once
