"""One sender in virtual time: who sends what when, how late it is, and how it stops."""

import asyncio
import math

import pytest

from serve_deployments.endpoint import WHOLE
from serve_deployments.fakes.virtual_replicas import FakeServer, VirtualClock, run_virtual
from serve_deployments.load.arrivals import CONSTANT, Trace
from serve_deployments.load.sending import TICK_S, Log, OwnSender, Schedule
from serve_deployments.metrics.request_record import RequestRecord

PAYLOADS = ["a", "b", "c", "d", "e"]


def now_s():
    return asyncio.get_running_loop().time()


def schedule(rate_rps=10.0, *, start_s=0.0, most_in_flight=100, arrivals=CONSTANT):
    return Schedule(arrivals, rate_rps, 0, start_s, most_in_flight)


def latencies(log):
    """When and what happened: a request was due (None), or one was answered after so many seconds."""
    return [(time_s, ended and ended.last_s - ended.due_s) for time_s, ended in log.happened]


def test_a_log_in_the_time_of_a_clock_behind_is_earlier_in_every_time_and_in_nothing_else():
    ended = RequestRecord(8.5, 8.625, 9.0, "lost", 8.75, 3, 4.0, 5.0)
    log = Log(10.0, [(7.0, None), (9.0, ended)], [6.0, 8.0], 9.5, [(9.0, 0.1)], 3.0, True)
    then = RequestRecord(4.5, 4.625, 5.0, "lost", 4.75, 3, 4.0, 5.0)
    assert log.earlier(4.0) == Log(6.0, [(3.0, None), (5.0, then)], [2.0, 4.0], 5.5, [(5.0, 0.1)], 3.0, True)
    assert log.earlier(-1.0).until_s == 11.0
    assert Log(10.0, []).earlier(4.0).next_due_s == math.inf


def test_a_log_tells_what_happened_since_the_one_before():
    """Five a second, answered after 0.5 s: by 1.05 s six were due and three have ended; the next is due at 1.2 s."""

    async def logs():
        sender = OwnSender(FakeServer(lambda batch: 0.5, cores=9), PAYLOADS, VirtualClock(cpu_share=0.25))
        await sender.follow(schedule(5.0))
        await asyncio.sleep(0.3)
        first = await sender.log()
        await asyncio.sleep(0.75)
        second = await sender.log()
        await sender.cancel()
        return first, second, await sender.log()

    first, second, last = run_virtual(logs())
    assert first.until_s == pytest.approx(0.3) and first.cpu_s == pytest.approx(0.075)
    assert first.happened == [(0.0, None), (0.2, None)] and first.waiting_s == [0.0, 0.2]
    assert [pytest.approx(each) for each in latencies(second)] == [
        (0.4, None), (0.5, 0.5), (0.6, None), (0.7, 0.5), (0.8, None), (0.9, 0.5), (1.0, None),
    ]  # fmt: skip
    assert second.waiting_s == pytest.approx([0.6, 0.8, 1.0])
    assert second.next_due_s == pytest.approx(1.2) and not second.gave_up
    assert [late for _, late in first.late + second.late] == [0.0] * 6
    # Cancelled: three failures, no more to come.
    assert [ended.error for _, ended in last.happened] == ["cancelled"] * 3
    assert last.waiting_s == [] and last.next_due_s == math.inf


def test_latency_counts_from_when_a_request_was_due_however_late_it_is_sent():
    async def level():
        server = FakeServer(lambda batch: 0.1, cores=9)
        sender = OwnSender(server, PAYLOADS, VirtualClock(late_s=0.25))
        await sender.follow(schedule(1.0, start_s=2.0))
        await asyncio.sleep(4.5)
        log = await sender.log()
        await sender.cancel()
        return server.arrived_s, log

    arrived_s, log = run_virtual(level())
    assert arrived_s == pytest.approx([2.25, 3.25, 4.25])
    assert [ended.sent_s for _, ended in log.happened if ended] == pytest.approx(arrived_s)
    assert [pytest.approx(each) for each in latencies(log)] == [
        (2.0, None), (2.35, 0.35), (3.0, None), (3.35, 0.35), (4.0, None), (4.35, 0.35),
    ]  # fmt: skip
    assert [pytest.approx(each) for each in log.late] == [(2.25, 0.25), (3.25, 0.25), (4.25, 0.25)]
    assert log.next_due_s == pytest.approx(5.0)


@pytest.mark.parametrize(("index", "of"), [(0, 1), (0, 3), (2, 3)])
def test_a_sender_takes_its_share_of_the_schedule_and_of_the_payloads(index, of):
    times_s = (0.0, 0.1, 0.3, 0.6, 1.0, 1.5, 2.1)
    rate_rps = 6 / 2.1  # as recorded

    async def level():
        server = FakeServer(lambda batch: 0.01, cores=9)
        sender = OwnSender(server, PAYLOADS, VirtualClock(), index, of)
        await sender.follow(schedule(rate_rps, start_s=1.0, arrivals=Trace(times_s)))
        await asyncio.sleep(3.15)
        await sender.cancel()
        return server

    server = run_virtual(level())
    assert server.arrived_s == pytest.approx([1 + time_s for time_s in times_s[index::of]])
    assert server.payloads == [PAYLOADS[number % 5] for number in range(7)][index::of]


def test_a_sender_with_as_many_in_flight_as_allowed_gives_up_when_the_next_is_due():
    async def level():
        server = FakeServer(lambda batch: 100.0, cores=9)
        sender = OwnSender(server, PAYLOADS, VirtualClock())
        await sender.follow(schedule(10.0, most_in_flight=4))
        await asyncio.sleep(0.35)
        before = await sender.log()
        await asyncio.sleep(10)
        after = await sender.log()
        await sender.quiet(0.0)
        await sender.follow(schedule(10.0, start_s=now_s(), most_in_flight=9))
        await asyncio.sleep(0.01)
        again = await sender.log()
        await sender.cancel()
        return before.gave_up, after.gave_up, again.gave_up, server.most_in_flight

    assert run_virtual(level()) == (False, True, False, 5)


def test_each_client_sends_when_its_last_request_has_ended():
    async def loop():
        server = FakeServer(lambda batch: 0.3, cores=9)
        sender = OwnSender(server, PAYLOADS, VirtualClock(), 1, 2)
        await sender.clients(2, 1.0)
        await asyncio.sleep(0.7)
        log = await sender.log()
        await sender.cancel()
        return server, log

    server, log = run_virtual(loop())
    assert server.arrived_s == pytest.approx([0, 0, 0.3, 0.3, 0.6, 0.6]) and server.payloads == list("bdaceb")
    assert log.next_due_s == math.inf and log.waiting_s == pytest.approx([0.6, 0.6])
    # It looks at the clock every tick, and was on time.
    assert len(log.late) == pytest.approx(0.7 / TICK_S, abs=1)
    assert [late_s for _, late_s in log.late] == pytest.approx([0.0] * len(log.late), abs=1e-9)


def test_a_client_that_is_refused_waits_before_it_asks_again_and_one_that_failed_late_does_not():
    """A refusal at once leaves 20 requests a second; one after 0.2 s leaves five."""

    async def loop(after_s):
        class Refuses:
            times_s: list[float] = []

            async def infer(self, payload):
                self.times_s.append(now_s())
                await asyncio.sleep(after_s)
                raise ConnectionError

            async def usage(self):
                return None

        Refuses.times_s = []
        sender = OwnSender(Refuses(), PAYLOADS, VirtualClock())
        await sender.clients(1, 1.0)
        await asyncio.sleep(0.99)
        await sender.cancel()
        return Refuses.times_s

    assert run_virtual(loop(0.0)) == pytest.approx([0.05 * number for number in range(20)])
    assert run_virtual(loop(0.2)) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])


def test_clients_dismissed_finish_what_they_sent_and_the_others_go_on():
    async def loop():
        server = FakeServer(lambda batch: 0.4, cores=9)
        sender = OwnSender(server, PAYLOADS, VirtualClock())
        await sender.clients(3, 1.0)
        await asyncio.sleep(0.1)
        await sender.clients(1, 10.0)
        dismissed_s, answered = now_s(), sum(ended is not None for _, ended in (await sender.log()).happened)
        await asyncio.sleep(0.35)
        in_flight = server.in_flight
        await sender.clients(2, 1.0)
        await asyncio.sleep(0.01)
        more = server.in_flight
        tasks = len(asyncio.all_tasks())
        await sender.cancel()
        return dismissed_s, answered, in_flight, more, tasks

    # This task, one for each of two clients, and one that looks at the clock.
    assert run_virtual(loop()) == (pytest.approx(0.4), 3, 1, 2, 4)


def test_clients_dismissed_are_not_waited_for_longer_than_told_and_come_back_once_they_are_done():
    async def loop():
        server = FakeServer(lambda batch: 5.0, cores=9)
        sender = OwnSender(server, PAYLOADS, VirtualClock())
        await sender.clients(2, 1.0)
        await asyncio.sleep(1.0)
        await sender.clients(1, 0.5)
        waited_s = now_s()
        await sender.clients(2, 0.5)  # the second is still busy with its request
        await asyncio.sleep(0.0)
        in_flight = server.in_flight
        await asyncio.sleep(4.0)
        await sender.clients(2, 0.5)
        both = server.in_flight
        await sender.cancel()
        return waited_s, in_flight, both

    assert run_virtual(loop()) == (pytest.approx(1.5), 2, 2)


@pytest.mark.parametrize(("wait_s", "in_flight", "until_s"), [(0.1, 3, 0.6), (9.0, 0, 1.5)])
def test_quiet_waits_for_answers_as_long_as_told_and_sends_no_more(wait_s, in_flight, until_s):
    async def level():
        server = FakeServer(lambda batch: 1.0, cores=9)
        sender = OwnSender(server, PAYLOADS, VirtualClock())
        await sender.clients(1, 1.0)
        await sender.follow(schedule(4.0, start_s=0.1))
        await asyncio.sleep(0.5)
        await sender.quiet(wait_s)
        state = len(server.arrived_s), server.in_flight, now_s()
        sent, log = len(server.arrived_s), await sender.log()
        await asyncio.sleep(3.0)
        assert len(server.arrived_s) == sent and log.next_due_s == math.inf
        await sender.cancel()
        return state

    # The client's, and those due at 0.1 s and 0.35 s.
    assert run_virtual(level()) == (3, in_flight, pytest.approx(until_s if wait_s < 1 else 1.35))


def test_cancelling_withdraws_what_is_in_flight_and_leaves_no_task():
    async def level():
        server = FakeServer(lambda batch: 100.0, cores=9)
        sender = OwnSender(server, PAYLOADS, VirtualClock())
        await sender.clients(2, 1.0)
        await sender.follow(schedule(10.0))
        await asyncio.sleep(0.25)
        busy = server.in_flight
        await sender.cancel()
        return busy, server.in_flight, len(asyncio.all_tasks()), now_s()

    assert run_virtual(level()) == (5, 0, 1, 0.25)


class PanicException(BaseException):
    """As that of Rust's extensions, such as a client of a protocol."""


def test_whatever_a_request_raises_is_a_failure_and_the_cancelling_of_the_sender_is_none():
    class Odd:
        def __init__(self):
            self.errors = [ValueError("no"), asyncio.CancelledError(), PanicException("out of bounds"), None]

        async def infer(self, payload):
            await asyncio.sleep(0.1)
            if (error := self.errors.pop(0)) is not None:
                raise error
            return WHOLE

        async def usage(self):
            return None

    async def level():
        sender = OwnSender(Odd(), PAYLOADS, VirtualClock())
        await sender.follow(schedule(5.0))
        await asyncio.sleep(0.75)
        log = await sender.log()
        await sender.cancel()
        return [ended for _, ended in log.happened if ended is not None]

    ended = run_virtual(level())
    assert [one.error for one in ended] == [
        "ValueError: no", "the server cancelled the request", "PanicException: out of bounds", None,
    ]  # fmt: skip
    assert [one.last_s - one.sent_s for one in ended] == pytest.approx([0.1] * 4)


def test_what_ends_the_sending_is_raised_where_it_is_asked_for():
    class Broken:
        def offsets(self, rate_rps, seed):
            yield 0.0
            raise ArithmeticError("no more numbers")

    async def level():
        sender = OwnSender(FakeServer(lambda batch: 0.1), PAYLOADS, VirtualClock())
        await sender.follow(schedule(arrivals=Broken()))
        await asyncio.sleep(0.5)
        with pytest.raises(ArithmeticError, match="no more numbers"):
            await sender.log()
        await sender.cancel()

    run_virtual(level())


def test_a_client_that_only_waits_looks_every_tick_how_late_it_is():
    async def loop():
        sender = OwnSender(FakeServer(lambda batch: 10.0), PAYLOADS, VirtualClock(late_s=0.03))
        await sender.clients(1, 1.0)
        await sender.clients(1, 1.0)  # again: no second timer
        await asyncio.sleep(0.99)
        log = await sender.log()
        await sender.cancel()
        return log.late

    late = run_virtual(loop())
    # Each look ends 0.03 s after it was due, and the next is due a tick after the last was, or at once.
    assert [late_s for _, late_s in late] == pytest.approx([0.03] * len(late))
    assert len(late) == pytest.approx(0.99 / 0.03, abs=1.1)


def test_without_a_payload_there_is_nothing_to_send():
    with pytest.raises(ValueError, match="at least one payload"):
        OwnSender(FakeServer(lambda batch: 1.0), [], VirtualClock())
