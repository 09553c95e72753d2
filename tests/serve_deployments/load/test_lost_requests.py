"""Requests that a server drops: what a sender takes for lost, what it never does, and what its clients do meanwhile."""

import asyncio

import pytest

from serve_deployments.endpoint import TURNS
from serve_deployments.fakes.virtual_replicas import FakeServer, VirtualClock, run_virtual
from serve_deployments.load.arrivals import CONSTANT
from serve_deployments.load.lost_requests import LostRequests
from serve_deployments.load.sending import TICK_S, OwnSender, Schedule

SERVICE_S = 0.05
WAIT_S = TURNS * SERVICE_S


def every_50th(number):
    return number % 50 == 49


def known(answers=TURNS, took_s=0.1):
    """What is known after so many answers: request 0 has had none."""
    lost = LostRequests()
    for number in range(1, answers + 1):
        lost.answered(number, took_s)
    return lost


def test_a_request_is_lost_once_one_is_answered_that_was_sent_after_it_had_waited_many_times_as_long_as_any_other():
    lost = known()
    assert lost.look({0: 0.0}, 17, 1.59) == ([], [])
    assert lost.look({0: 0.0}, 18, 1.61) == ([0], [])
    lost.answered(17, 0.1)  # sent before
    assert lost.look({0: 0.0}, 19, 1.7) == ([], [])
    lost.answered(18, 0.1)
    assert lost.look({0: 0.0}, 20, 1.8) == ([], [0])
    lost.ended(0)
    assert lost.left([0, 19]) == []


def test_answers_that_take_longer_by_then_give_it_more_time():
    lost = known()
    assert lost.look({0: 0.0}, 18, 1.7) == ([0], [])
    lost.answered(18, 0.5)
    assert lost.look({0: 0.0}, 20, 7.9) == ([], []) and lost.look({0: 0.0}, 20, 8.1) == ([], [0])


@pytest.mark.parametrize(("answers", "in_flight"), [(TURNS - 1, 1), (TURNS, TURNS + 1), (0, 1)])
def test_few_answers_tell_nothing(answers, in_flight):
    """The quickest of many that are served at the same time come first."""
    waiting = {0: 0.0, **{number: 9.0 for number in range(90, 90 + in_flight - 1)}}
    assert known(answers).look(waiting, 200, 10.0) == ([], [])
    assert known(answers + 1 if answers else TURNS).look(waiting, 200, 10.0) == ([0], [])


def test_what_a_level_has_shown_is_forgotten_at_the_next():
    lost = known()
    lost.begin()
    assert lost.look({0: 0.0}, 17, 99.0) == ([], [])


def test_where_none_was_answered_that_was_sent_later_only_the_last_one_sent_is_suspected():
    """As in a stall; one client that waits sends one more, and not one after the other."""
    lost, waiting = known(), {17: 0.0, 18: 0.0}
    assert lost.look(waiting, 19, 9.0) == ([18], [])
    assert lost.look({**waiting, 19: 9.0}, 20, 20.0) == ([], [])
    assert lost.left(waiting) == []
    lost.answered(19, 11.0)
    assert lost.left(waiting) == [18]


def test_once_a_lost_request_was_answered_after_all_none_is_lost_any_more():
    lost = known()
    lost.answered(40, 0.1)
    assert lost.look({0: 0.0}, 41, 5.0) == ([0], [])
    lost.answered(0, 6.0, was_lost=True)
    lost.begin()
    for number in range(50, 90):
        lost.answered(number, 0.001)
    assert lost.look({45: 0.0}, 95, 99.0) == ([], []) and lost.left([45]) == []


# --- a sender


def closed(server, clients, seconds):
    """What ended in a closed loop of a sender: records in the order of their ends."""

    async def loop():
        sender = OwnSender(server, ["x"], VirtualClock())
        await sender.clients(clients, 1.0)
        await asyncio.sleep(seconds)
        log = await sender.log()
        await sender.cancel()
        assert server.in_flight == 0
        return [ended for _, ended in log.happened if ended]

    return run_virtual(loop())


@pytest.mark.parametrize("clients", [1, 8])
def test_a_client_goes_on_after_a_dropped_request_as_the_arithmetic_says(clients):
    """Of 50 requests 49 take their time, and one is waited for 16 times as long and up to two ticks."""
    ended = closed(FakeServer(lambda size: SERVICE_S, cores=8, drops=every_50th), clients, 60.0)
    dropped = [one for one in ended if one.error]
    least_s, most_s = (49 * SERVICE_S + WAIT_S + ticks * TICK_S for ticks in (0, 2))
    assert 60 * 50 * clients / most_s * 0.97 <= len(ended) <= 60 * 50 * clients / least_s * 1.03
    assert len(dropped) / len(ended) == pytest.approx(1 / 50, rel=0.1)
    for one in dropped:
        # The next one that is sent tells, or if that is dropped, too, the one after it.
        assert one.parts == 0 and WAIT_S < one.last_s - one.due_s < WAIT_S + 2 * SERVICE_S + 3 * TICK_S
        assert one.error == (
            f"no answer within {one.last_s - one.due_s:.3g} s, while requests that were sent later had one"
        )


def test_a_stall_loses_no_request_and_sends_one_more_at_most():
    server = FakeServer(lambda size: 0.002, cores=8, stalls=((1.0, 0.5), (3.0, 2.0)))
    ended = closed(server, 8, 6.0)
    assert all(one.error is None for one in ended) and server.most_in_flight <= 9


class TwoKinds(FakeServer):
    """A server of which each 20th request takes a hundred times as long, beside the others."""

    async def infer(self, payload):
        number = len(self.arrived_s)
        if number % 20 == 19:
            self.arrived_s.append(0.0)
            await asyncio.sleep(0.5)
        return await super().infer(payload)


def test_a_service_that_has_rare_slow_requests_is_soon_believed():
    ended = closed(TwoKinds(lambda size: 0.005, cores=8), 8, 60.0)
    assert len(ended) > 5000
    assert all(one.error is None for one in ended if one.last_s > 1.0)
    assert 0.03 < sum(one.last_s - one.due_s > 0.4 for one in ended if one.last_s > 1.0) / len(ended) < 0.06


@pytest.mark.parametrize(("seconds", "ended_s"), [(4.985, 4.49 + WAIT_S), (4.995, 4.995 + 2.0)])
def test_of_an_open_level_requests_that_were_dropped_fail_and_its_end_does_not_wait_for_them(seconds, ended_s):
    """If the last one is dropped, none comes after it, and it is waited for as long as may be."""

    async def level():
        server = FakeServer(lambda size: SERVICE_S, cores=8, drops=every_50th)
        sender = OwnSender(server, ["x"], VirtualClock())
        await sender.follow(Schedule(CONSTANT, 100.0, 0, 0.0, 100))
        await asyncio.sleep(seconds)
        during = [ended for _, ended in (await sender.log()).happened if ended and ended.error]
        await sender.quiet(2.0)
        until_s = asyncio.get_running_loop().time()
        after = [ended for _, ended in (await sender.log()).happened if ended and ended.error]
        await sender.cancel()
        return [one.due_s for one in during], [one.due_s for one in after], until_s

    during, after, until_s = run_virtual(level())
    assert during == pytest.approx([0.49 + 0.5 * n for n in range(8)])
    assert after == pytest.approx([4.49]) and ended_s <= until_s < ended_s + 2 * TICK_S
