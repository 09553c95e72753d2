"""A sender: sends requests and records how each ends. `load_generator` may use several."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from serve_deployments.endpoint import WHOLE, Answer, Endpoint, Payload, first_line
from serve_deployments.load.arrivals import Arrivals, nth
from serve_deployments.load.clock import Clock
from serve_deployments.load.in_flight import InFlight, Sent
from serve_deployments.metrics.request_record import RequestRecord

TICK_S = 0.02
"""Period in seconds at which a client that only waits for answers checks how late it is."""

_CANCELLED: str | None = "cancelled"  # the error of a request that ends in no other way
_AFTER_ERROR_S = 0.05  # least time between a failed send of a client and its next one, lest refusals make a busy loop

Happened = list[tuple[float, RequestRecord | None]]
"""Times and events, in order: None where a request was due, its record where one ended."""


@dataclass(frozen=True)
class Log:
    """What one sender has recorded since its previous log; times are in seconds of the sender's own clock.

    Args:
        until_s: the log is complete up to this time.
        happened: see `Happened`; in a closed loop a request is due when it is sent.
        waiting_s: when each request in flight was due.
        next_due_s: when the next request of its schedule is due; before `until_s` if the sender is late.
        late: pairs of a time at which it acted, and how late that was.
        cpu_s: CPU seconds that its process has used by now.
        gave_up: whether it stopped because more requests would have been in flight than allowed.
    """

    until_s: float
    happened: Happened
    waiting_s: Sequence[float] = ()
    next_due_s: float = math.inf
    late: Sequence[tuple[float, float]] = ()
    cpu_s: float = 0.0
    gave_up: bool = False

    def earlier(self, by_s: float) -> Log:
        """The same log with all times `by_s` seconds earlier: by a clock that is so far behind."""
        return replace(
            self,
            until_s=self.until_s - by_s,
            happened=[(time_s - by_s, ended and ended.earlier(by_s)) for time_s, ended in self.happened],
            waiting_s=[due_s - by_s for due_s in self.waiting_s],
            next_due_s=self.next_due_s - by_s,
            late=[(time_s - by_s, late_s) for time_s, late_s in self.late],
        )


@dataclass(frozen=True)
class Schedule:
    """The schedule of an open level.

    Args:
        arrivals: pattern of the arrivals.
        rate_rps: mean rate of all senders together.
        seed: random seed of the pattern.
        start_s: when the schedule begins.
        most_in_flight: a sender with this many requests in flight stops instead of sending another.
    """

    arrivals: Arrivals
    rate_rps: float
    seed: int
    start_s: float
    most_in_flight: int


class Sender(Protocol):
    """Sends its share of a load: `OwnSender` from this process, `RemoteSender` from another one."""

    async def clients(self, count: int, wait_s: float) -> None:
        """Keep a closed loop of `count` clients.

        Clients that are no longer wanted are waited for, up to `wait_s` seconds, until their last answer.
        """
        ...

    async def follow(self, schedule: Schedule) -> None:
        """Start to send on schedule."""
        ...

    async def quiet(self, wait_s: float) -> None:
        """Stop sending, and wait up to `wait_s` seconds for the answers."""
        ...

    async def cancel(self) -> None:
        """Stop sending and withdraw the requests in flight."""
        ...

    async def log(self) -> Log:
        """The events since the last call; raises the exception that ended the sending, if any."""
        ...


@dataclass
class OwnSender:
    """A sender in this process: number `index` of `of` senders that share a load.

    It takes arrival number `index` of a schedule and every `of`-th after it, and the payloads in the same way.

    A request that seems dropped (`LostRequests`) is not waited for: a client goes on with its next one, and once it
    counts as lost, it counts as failed.
    """

    endpoint: Endpoint
    payloads: Sequence[Payload]
    clock: Clock
    index: int = 0
    of: int = 1
    _wanted: int = 0
    _in_flight: InFlight = field(default_factory=InFlight)
    _next_due_s: float = math.inf
    _gave_up: bool = False
    _happened: Happened = field(default_factory=list)
    _late: list[tuple[float, float]] = field(default_factory=list)
    _clients: dict[int, asyncio.Task[None]] = field(default_factory=dict)
    _requests: set[asyncio.Task[bool]] = field(default_factory=set)
    _unwaited: set[asyncio.Task[Any]] = field(default_factory=set)  # whose requests seem dropped
    _steady: list[asyncio.Task[None]] = field(default_factory=list)  # the schedule's, or the timer's
    _looked_s: float = -math.inf

    def __post_init__(self) -> None:
        if not self.payloads:
            raise ValueError("a load test needs at least one payload")

    async def clients(self, count: int, wait_s: float) -> None:
        """See `Sender`."""
        self._wanted = count
        self._in_flight.begin_level()
        dismissed = [task for index, task in self._clients.items() if index >= count and not task.done()]
        if dismissed:
            await asyncio.wait(dismissed, timeout=wait_s)
        for index in range(count):
            if index not in self._clients or self._clients[index].done():
                self._start_client(index)
        if count and not self._steady:
            self._steady.append(asyncio.create_task(self._watch_timer()))

    async def follow(self, schedule: Schedule) -> None:
        """See `Sender`."""
        self._in_flight.begin_level()
        self._steady.append(asyncio.create_task(self._send_all(schedule)))

    async def quiet(self, wait_s: float) -> None:
        """See `Sender`."""
        self._wanted = 0
        await self._end_steady()
        until_s = self.clock.now() + wait_s
        while busy := {*self._requests, *(task for task in self._clients.values() if not task.done())}:
            left_s = max(0.0, until_s - self.clock.now())
            await asyncio.wait(busy, timeout=min(left_s, TICK_S))
            if left_s <= TICK_S:
                break
            self._look_for_lost()
        self._record_lost(self._in_flight.left(self.clock.now()))

    async def cancel(self) -> None:
        """See `Sender`."""
        self._wanted = 0
        await self._end_steady()
        await _end([*self._requests, *self._clients.values(), *self._unwaited])

    async def log(self) -> Log:
        """See `Sender`."""
        for task in (*self._steady, *self._clients.values()):
            if task.done() and not task.cancelled():
                task.result()  # raises: else nobody would see the exception
        happened, late = self._happened, self._late
        self._happened, self._late = [], []
        now, waiting_s = self.clock.now(), self._in_flight.due_s
        return Log(now, happened, waiting_s, self._next_due_s, late, self.clock.cpu_s(), self._gave_up)

    async def _end_steady(self) -> None:
        await _end(self._steady)
        self._steady.clear()
        # These belong to the ended schedule: else the next level would be over before it has begun.
        self._next_due_s, self._gave_up = math.inf, False

    def _start_client(self, index: int) -> None:
        self._clients[index] = asyncio.create_task(self._client(index))

    async def _client(self, index: int) -> None:
        while index < self._wanted and self._clients[index] is asyncio.current_task():
            sent_s = self.clock.now()
            if not await self._send(sent_s):
                await self.clock.sleep_until(sent_s + _AFTER_ERROR_S)

    async def _watch_timer(self) -> None:
        """Regularly records how late this process is, in a closed loop, where only answers wake it otherwise."""
        due_s = self.clock.now()
        while True:
            due_s = max(due_s + TICK_S, self.clock.now())
            await self.clock.sleep_until(due_s)
            self._was_late(due_s)
            self._look_for_lost()

    async def _send_all(self, schedule: Schedule) -> None:
        """Sends on schedule until too many are in flight."""
        for offset_s in self._offsets(schedule):
            due_s = self._next_due_s = schedule.start_s + offset_s
            await self.clock.sleep_until(due_s)
            self._was_late(due_s)
            self._look_for_lost()
            if len(self._requests) >= schedule.most_in_flight:
                self._gave_up = True
                return
            task = asyncio.create_task(self._send(due_s))
            self._requests.add(task)
            task.add_done_callback(self._requests.discard)

    def _offsets(self, schedule: Schedule) -> Iterator[float]:
        return nth(schedule.arrivals.offsets(schedule.rate_rps, schedule.seed), self.index, self.of)

    def _was_late(self, due_s: float) -> None:
        now = self.clock.now()
        self._late.append((now, now - due_s))

    def _look_for_lost(self) -> None:
        """Leaves requests that seem dropped to themselves, and records as failed those that are lost."""
        now = self.clock.now()
        if now < self._looked_s + TICK_S:  # to look for each that is sent would keep the sender busy
            return
        self._looked_s = now
        suspected, lost = self._in_flight.look(now)
        for task in suspected:
            self._wait_no_longer(task)
        self._record_lost(lost)

    def _record_lost(self, lost: Iterable[RequestRecord]) -> None:
        self._happened += [(request.last_s, request) for request in lost]

    def _wait_no_longer(self, task: asyncio.Task[Any]) -> None:
        """Takes a task out of those that are waited for; in the place of a client comes another."""
        self._unwaited.add(task)
        task.add_done_callback(self._unwaited.discard)
        self._requests.discard(task)
        for index in [index for index, client in self._clients.items() if client is task]:
            self._start_client(index)

    async def _send(self, due_s: float) -> bool:
        """Sends one request, waits until it has ended and returns whether it was answered.

        Its latency counts from `due_s`, not from the send: a stalled sender must not hide a queue.
        """
        self._happened.append((due_s, None))
        sample = (self.index + self.of * self._in_flight.count) % len(self.payloads)
        sent_s, task = self.clock.now(), asyncio.current_task()
        assert task is not None, "a request is sent by a task"
        number = self._in_flight.send(Sent(due_s, sent_s, sample, task))
        answer, error = WHOLE, _CANCELLED
        try:
            answer, error = await self._ask(self.payloads[sample])
        finally:
            now = self.clock.now()
            if self._in_flight.end(number, now - due_s if error is None else None):
                first_s = sent_s + answer.first_after_s
                ended = RequestRecord(
                    due_s, sent_s, now, error, first_s, answer.parts, answer.size_in, answer.size_out, sample,
                    answer.gaps_s,
                )  # fmt: skip
                self._happened.append((now, ended))
        return error is None

    async def _ask(self, payload: Payload) -> tuple[Answer, str | None]:
        """The answer and None; or `WHOLE` and a description of the failure."""
        try:
            return await self.endpoint.infer(payload), None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return WHOLE, "the server cancelled the request"  # the request was cancelled, not this task
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # whatever failed, be it a Rust panic: the load test counts it and goes on
            return WHOLE, first_line(error)


async def _end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancels the tasks that still run and waits until they have ended."""
    running = list(tasks)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
