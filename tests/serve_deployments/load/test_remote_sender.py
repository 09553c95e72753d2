"""Senders on other machines, whose clocks are off and drift: what they saw lines up on the coordinator's time."""

import asyncio
from itertools import cycle, islice

import numpy as np
import pytest
from ray.exceptions import RayActorError

from serve_deployments.backend import LoadFailed
from serve_deployments.fakes.virtual_replicas import FakeServer, VirtualClock, run_virtual
from serve_deployments.load import remote_sender
from serve_deployments.load.arrivals import CONSTANT, POISSON, Renewal
from serve_deployments.load.load_generator import LoadGenerator
from serve_deployments.load.remote_sender import RemoteSender, SenderActor
from serve_deployments.load.sending import OwnSender, Schedule
from serve_deployments.measuring.level import open_level
from serve_deployments.measuring.plan import LoadPlan

SERVICE_S = 0.1037  # no multiple of any gap here, so that nothing ends just as something is due
# Seconds there and back. Only the fastest trip is as long in both directions, as it is on an idle network.
TRIPS_S = [(0.020, 0.003), (0.004, 0.030), (0.001, 0.001), (0.002, 0.009), (0.015, 0.001)]


class Elsewhere(SenderActor):
    """On a machine of another name."""

    async def set_target(self, *args):
        await super().set_target(*args)
        return "elsewhere"


class Handle:
    """What Ray's handle is to an actor: each call takes time there and back."""

    def __init__(self, actor, trips_s=((0.0, 0.0),)):
        self.actor, self.trips_s, self.calls = actor, cycle(trips_s), []

    def __getattr__(self, name):
        return Method(self, name)


class Method:
    def __init__(self, handle, name):
        self.handle, self.name = handle, name

    def remote(self, *args):
        self.handle.calls.append((self.name, *args))
        return self._call(args, *next(self.handle.trips_s))

    async def _call(self, args, there_s, back_s):
        await asyncio.sleep(there_s)
        answer = await getattr(self.handle.actor, self.name)(*args)
        await asyncio.sleep(back_s)
        return answer


@pytest.fixture(autouse=True)
def pinned(monkeypatch):
    """The cores that actors were told to run on: they share this process, which stays where it is."""
    told: list[set[int]] = []
    monkeypatch.setattr(remote_sender, "pin", told.append)
    monkeypatch.setattr(remote_sender, "can_pin", lambda: True)
    return told


async def aimed(server, clocks, trips_s=((0.0, 0.0),), payloads=("a", "b", "c", "d", "e")):
    """A generator of senders, each of whose machines has one of these clocks."""
    handles = [Handle(Elsewhere(clock), trips_s) for clock in clocks]
    senders = [
        await RemoteSender.with_target(
            handle, lambda: server, payloads, index, len(clocks), {index}, clock=VirtualClock()
        )
        for index, handle in enumerate(handles)
    ]
    return LoadGenerator(server, senders, VirtualClock())


def record(team_on, schedule, seconds, look_s=0.05):
    """What a server and a generator of its senders say of so many seconds."""

    async def level():
        server = FakeServer(lambda batch: SERVICE_S, cores=1000)
        generator = await team_on(server)
        events = await generator.record()
        await generator.follow(schedule)
        while asyncio.get_running_loop().time() < seconds:
            await asyncio.sleep(look_s)
            await generator.collect()
        await generator.cancel()
        return events, server

    return run_virtual(level())


def due_s(schedule, until_s):
    whole = schedule.arrivals.offsets(schedule.rate_rps, schedule.seed)
    return np.array(
        [schedule.start_s + offset for offset in islice(whole, 2000) if schedule.start_s + offset < until_s]
    )


@pytest.mark.parametrize("arrivals", [CONSTANT, POISSON, Renewal(3.0)], ids=["constant", "Poisson", "bursts"])
@pytest.mark.parametrize("ahead_s", [(0.0,), (7.5,), (3.0, -5.0, 1e6), (-2.0, 0.0, 40.0)], ids=str)
def test_clocks_that_are_seconds_off_change_neither_when_requests_are_sent_nor_what_is_said_of_them(arrivals, ahead_s):
    """Every time is known beforehand: a request is due as scheduled, sent then, and answered `SERVICE_S` later."""
    schedule = Schedule(arrivals, 60.0, seed=3, start_s=1.0, most_in_flight=1000)
    clocks = [VirtualClock(ahead_s=ahead) for ahead in ahead_s]
    events, server = record(lambda server: aimed(server, clocks, TRIPS_S), schedule, seconds=6.0)
    due = due_s(schedule, 5.0)
    assert len(due) > 150
    np.testing.assert_allclose(np.sort(server.arrived_s)[: len(due)], due, rtol=0, atol=1e-9)
    np.testing.assert_allclose(events.requests().last_s[: len(due)], due + SERVICE_S, rtol=0, atol=1e-8)
    np.testing.assert_allclose(events.requests().latency_s[: len(due)], SERVICE_S, rtol=0, atol=1e-8)
    # As the n-th ends, all that were due by then are in flight but for the n before it.
    begun = np.searchsorted(due_s(schedule, 5.5), due + SERVICE_S)
    np.testing.assert_array_equal(events.in_flight[: len(due)], begun - np.arange(len(due)))


def test_lateness_and_cpu_of_a_sender_far_ahead_are_those_of_the_same_moment():
    """One of two is 30 ms late and as busy as can be, its clock 9 s behind: a span of two seconds shows both."""
    schedule = Schedule(CONSTANT, 40.0, seed=3, start_s=1.0, most_in_flight=1000)
    clocks = [VirtualClock(ahead_s=20.0, cpu_share=0.2), VirtualClock(ahead_s=-9.0, late_s=0.03, cpu_share=0.9)]
    events, _ = record(lambda server: aimed(server, clocks), schedule, seconds=4.0)
    span = events.span(1, 81)
    assert 1.0 < span.start_s < span.end_s < 3.5
    assert 70 <= len(span.lag_s) <= 90 and (span.lag_s > 0.0299).sum() == pytest.approx(40, abs=2)
    assert span.cpu_share == pytest.approx(0.9, abs=0.02)


def test_a_drifting_clock_is_off_by_its_drift_since_the_senders_were_aimed():
    """50 ppm is a quartz that nothing corrects: in a level of 20 s it comes to a millisecond, not to more."""
    schedule = Schedule(POISSON, 60.0, seed=3, start_s=1.0, most_in_flight=1000)
    clocks = [VirtualClock(ahead_s=3.0, drift=5e-5), VirtualClock(ahead_s=-4.0, drift=-5e-5), VirtualClock()]
    events, server = record(lambda server: aimed(server, clocks, TRIPS_S), schedule, seconds=21.0)
    due = due_s(schedule, 20.0)
    assert len(due) > 1000
    off = np.sort(server.arrived_s)[: len(due)] - due
    assert 0.0005 < np.abs(off).max() < 0.0012
    np.testing.assert_allclose(events.requests().last_s[: len(due)], due + SERVICE_S, rtol=0, atol=0.0012)
    # A latency is of one clock alone: the drift within it, and no more.
    np.testing.assert_allclose(events.requests().latency_s[: len(due)], SERVICE_S, rtol=6e-5)


def test_the_fastest_round_trip_tells_how_far_a_clock_is_ahead():
    """The others are off by half the difference of their two ways: 0.0085 s for the first."""

    async def asked():
        handle = Handle(Elsewhere(VirtualClock(ahead_s=12.5)), TRIPS_S)
        sender = await RemoteSender.with_target(handle, lambda: None, ["a"], 0, 1, {0}, clock=VirtualClock())
        return sender.ahead_s, [name for name, *_ in handle.calls]

    ahead_s, calls = run_virtual(asked())
    assert ahead_s == pytest.approx(12.5, abs=1e-9)
    assert calls == ["set_target", "now", "now", "now", "now", "now"]


def test_the_clock_of_this_machine_is_not_asked_for():
    async def asked():
        handle = Handle(SenderActor(VirtualClock(ahead_s=12.5)))
        return (await RemoteSender.with_target(handle, lambda: None, ["a"], 0, 1, {0})).ahead_s

    assert run_virtual(asked()) == 0.0


def test_a_sender_is_pinned_to_its_cores_where_the_system_can(pinned, monkeypatch):
    async def aim():
        return await SenderActor(VirtualClock()).set_target(
            lambda: FakeServer(lambda batch: 1.0), ["a"], 0, 1, frozenset({3})
        )

    run_virtual(aim())
    assert pinned == [{3}]
    monkeypatch.setattr(remote_sender, "can_pin", lambda: False)
    run_virtual(aim())
    assert pinned == [{3}]


@pytest.mark.parametrize("of", [1, 2, 3])
def test_each_sender_has_a_number_of_its_own_and_sends_what_is_its_turn(of):
    """Of the constant schedule sender i takes i, i + n, …, and so of the payloads: nothing twice, nothing left out."""
    schedule = Schedule(CONSTANT, 20.0, seed=3, start_s=1.0, most_in_flight=1000)
    _, server = record(lambda server: aimed(server, [VirtualClock()] * of), schedule, seconds=3.0)
    np.testing.assert_allclose(server.arrived_s[:30], 1 + np.arange(30) / 20, atol=1e-9)
    assert server.payloads[:30] == ["a", "b", "c", "d", "e"] * 6


def test_senders_told_to_keep_clients_to_be_quiet_or_to_stop_do_so():
    async def commands():
        server = FakeServer(lambda batch: 1.0, cores=1000)
        generator = await aimed(server, [VirtualClock(ahead_s=5.0), VirtualClock()])
        await generator.clients(5, 10.0)
        await asyncio.sleep(0.5)
        held = server.in_flight
        await generator.quiet(0.2)
        still = server.in_flight, asyncio.get_running_loop().time()
        await generator.clients(3, 0.0)
        await asyncio.sleep(2.0)
        await generator.cancel()
        return held, still, server.in_flight, asyncio.get_running_loop().time()

    assert run_virtual(commands()) == (5, (5, pytest.approx(0.7)), 0, pytest.approx(2.7))


class Dead:
    """An actor whose process has ended."""

    async def log(self):
        raise RayActorError


def test_a_process_that_ended_fails_the_load_and_not_the_driver():
    with pytest.raises(LoadFailed, match="^a load-sending process died, so its level could not be measured"):
        run_virtual(RemoteSender(Handle(Dead())).log())


def test_a_level_of_remote_senders_is_that_of_one_here():
    """The same arrivals, the same server: the same level, but for when the last message came."""

    def load(team_on):
        async def level():
            server = FakeServer(lambda batch: 0.02 + 0.003 * batch, max_batch=8)
            return await open_level(await team_on(server), ["x"], 60.0, LoadPlan(seed=3, arrivals=CONSTANT))

        return run_virtual(level())

    async def here(server):
        return LoadGenerator(server, [OwnSender(server, ["x"], VirtualClock())], VirtualClock())

    alone = load(here)
    apart = load(lambda server: aimed(server, [VirtualClock(ahead_s=8.0), VirtualClock(ahead_s=-8.0)], payloads=["x"]))
    assert (alone.senders, apart.senders) == (1, 2) and alone.steady and apart.steady
    assert apart.achieved_rps == pytest.approx(alone.achieved_rps, rel=0.01)
    assert apart.value("p99_ms") == pytest.approx(alone.value("p99_ms"), abs=0.01)
    assert apart.client_lag_ms == pytest.approx(0, abs=0.01)
