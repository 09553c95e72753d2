"""Sending requests and noting what becomes of them: one sender, of which `load_generator` may take several."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from serve_deployments.endpoint import WHOLE, Answer, Endpoint, Payload
from serve_deployments.load.arrivals import Arrivals, nth
from serve_deployments.load.clock import Clock
from serve_deployments.metrics.request_record import RequestRecord

TICK_S = 0.02
"""How often a client that only waits for answers looks how late it is."""

_CANCELLED: str | None = "cancelled"  # what a request ends with unless something else is known of it
_AFTER_ERROR_S = 0.05  # least time between a client's sends if the first failed: a refusal is no work done

Happened = list[tuple[float, RequestRecord | None]]
"""When and what, in order: a request was due (None), or one ended, as its record says."""


@dataclass(frozen=True)
class Log:
    """What one sender saw since it was last asked; times are of the sender's own clock.

    Args:
        until_s: nothing that happened before is missing.
        happened: see `Happened`; of a closed loop a request is due when it is sent.
        waiting_s: when each request in flight was due.
        next_due_s: when the next one of its schedule is; before `until_s` if the sender is late.
        late: when it did something, and how late.
        cpu_s: CPU seconds that its process has used by now.
        gave_up: more were in flight than allowed, so it stopped.
    """

    until_s: float
    happened: Happened
    waiting_s: Sequence[float] = ()
    next_due_s: float = math.inf
    late: Sequence[tuple[float, float]] = ()
    cpu_s: float = 0.0
    gave_up: bool = False

    def earlier(self, by_s: float) -> Log:
        """The same in the time of a clock that is so far behind."""
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
    """What an open level sends.

    Args:
        arrivals: their pattern.
        rate_rps: mean rate, of all senders together.
        seed: of the pattern.
        start_s: when it begins.
        most_in_flight: a sender that has so many requests in flight gives up.
    """

    arrivals: Arrivals
    rate_rps: float
    seed: int
    start_s: float
    most_in_flight: int


class Sender(Protocol):
    """Sends its share of a load: `OwnSender` in this process, `RemoteSender` in another one."""

    async def clients(self, count: int, wait_s: float) -> None:
        """Keep a closed loop of so many clients; those dismissed may wait so long for their last answers."""
        ...

    async def follow(self, schedule: Schedule) -> None:
        """Begin to send on schedule."""
        ...

    async def quiet(self, wait_s: float) -> None:
        """Send no more, and wait up to so long for the answers."""
        ...

    async def cancel(self) -> None:
        """Send no more and withdraw what is in flight."""
        ...

    async def log(self) -> Log:
        """What happened since the last call; raises what ended the sending."""
        ...


@dataclass
class OwnSender:
    """Sends from this process; number `index` of `of` senders who share a load.

    Of the arrivals of a schedule it takes number `index` and every `of`-th after it, and so of the payloads.
    """

    endpoint: Endpoint
    payloads: Sequence[Payload]
    clock: Clock
    index: int = 0
    of: int = 1
    _sent: int = 0
    _wanted: int = 0
    _due_s: dict[int, float] = field(default_factory=dict)  # of the requests in flight
    _next_due_s: float = math.inf
    _gave_up: bool = False
    _happened: Happened = field(default_factory=list)
    _late: list[tuple[float, float]] = field(default_factory=list)
    _clients: dict[int, asyncio.Task[None]] = field(default_factory=dict)
    _requests: set[asyncio.Task[bool]] = field(default_factory=set)
    _steady: list[asyncio.Task[None]] = field(default_factory=list)  # the schedule's, or the timer's

    def __post_init__(self) -> None:
        if not self.payloads:
            raise ValueError("a load test needs at least one payload")

    async def clients(self, count: int, wait_s: float) -> None:
        """See `Sender`."""
        self._wanted = count
        dismissed = [task for index, task in self._clients.items() if index >= count and not task.done()]
        if dismissed:
            await asyncio.wait(dismissed, timeout=wait_s)
        for index in range(count):
            if index not in self._clients or self._clients[index].done():
                self._clients[index] = asyncio.create_task(self._client(index))
        if count and not self._steady:
            self._steady.append(asyncio.create_task(self._watch_timer()))

    async def follow(self, schedule: Schedule) -> None:
        """See `Sender`."""
        self._steady.append(asyncio.create_task(self._send_all(schedule)))

    async def quiet(self, wait_s: float) -> None:
        """See `Sender`."""
        self._wanted = 0
        await self._end_steady()
        if busy := {*self._requests, *(task for task in self._clients.values() if not task.done())}:
            await asyncio.wait(busy, timeout=wait_s)

    async def cancel(self) -> None:
        """See `Sender`."""
        self._wanted = 0
        await self._end_steady()
        await _end([*self._requests, *self._clients.values()])

    async def log(self) -> Log:
        """See `Sender`."""
        for task in (*self._steady, *self._clients.values()):
            if task.done() and not task.cancelled():
                task.result()  # else what ended it would be seen by nobody
        happened, late = self._happened, self._late
        self._happened, self._late = [], []
        now = self.clock.now()
        return Log(
            now, happened, list(self._due_s.values()), self._next_due_s, late, self.clock.cpu_s(), self._gave_up
        )  # fmt: skip

    async def _end_steady(self) -> None:
        await _end(self._steady)
        self._steady.clear()
        # Of this schedule alone: the next level must not be over before it has begun.
        self._next_due_s, self._gave_up = math.inf, False

    async def _client(self, index: int) -> None:
        while index < self._wanted:
            sent_s = self.clock.now()
            if not await self._send(sent_s):
                await self.clock.sleep_until(sent_s + _AFTER_ERROR_S)

    async def _watch_timer(self) -> None:
        """How late this process is while nothing but answers wakes it."""
        due_s = self.clock.now()
        while True:
            due_s = max(due_s + TICK_S, self.clock.now())
            await self.clock.sleep_until(due_s)
            self._was_late(due_s)

    async def _send_all(self, schedule: Schedule) -> None:
        """Sends on schedule until too many are in flight."""
        for offset_s in self._offsets(schedule):
            due_s = self._next_due_s = schedule.start_s + offset_s
            await self.clock.sleep_until(due_s)
            self._was_late(due_s)
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

    async def _send(self, due_s: float) -> bool:
        """Returns when the request has ended; whether it was answered.

        Its latency counts from `due_s`, not from the send: a stalled sender must not hide the queue.
        """
        number = self._sent
        self._sent += 1
        self._due_s[number] = due_s
        self._happened.append((due_s, None))
        sent_s = self.clock.now()
        answer, error = WHOLE, _CANCELLED
        try:
            answer, error = await self._ask(self.payloads[(self.index + self.of * number) % len(self.payloads)])
        finally:
            now = self.clock.now()
            del self._due_s[number]
            first_s = sent_s + answer.first_after_s
            ended = RequestRecord(due_s, sent_s, now, error, first_s, answer.parts, answer.size_in, answer.size_out)
            self._happened.append((now, ended))
        return error is None

    async def _ask(self, payload: Payload) -> tuple[Answer, str | None]:
        """The answer; or one without content, and what failed."""
        try:
            return await self.endpoint.infer(payload), None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return WHOLE, "cancelled by what serves it"  # not we were cancelled but the request
        except Exception as error:  # whatever failed, the load test counts it and goes on
            return WHOLE, f"{type(error).__name__}: {error}"


async def _end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancels what still runs and waits until it has ended."""
    running = list(tasks)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
