"""Load generation by one or several senders that share a load, with a single record of all requests."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from operator import itemgetter

from serve_deployments.endpoint import Answer, Endpoint, Payload
from serve_deployments.load.clock import Clock
from serve_deployments.load.events import Events
from serve_deployments.load.sending import TICK_S, OwnSender, Schedule, Sender
from serve_deployments.metrics.request_limits import RequestLimits
from serve_deployments.metrics.request_record import RequestRecord
from serve_deployments.resources.usage import Usage

_MESSAGE_S = 0.05
"""Period at which several senders are polled. Our choice: an answer costs a sender about half a millisecond, 1 % of its
core; and a level ends at most this much later than it could."""

More = Callable[[int], Awaitable[Sequence[Sender]]]
"""Current number of senders → more senders in their place; empty where there is no room for more."""


class LoadGenerator:
    """An endpoint together with its senders: this process alone, or as many senders as the load needs.

    It can be passed wherever an endpoint is expected: a level then leaves the sending to the generator.

    Args:
        endpoint: the endpoint that answers.
        senders: the senders, each numbered by its position.
        clock: the clock of the record.
        more: called for more senders when the current ones were the bottleneck; None: there are no more.
    """

    def __init__(self, endpoint: Endpoint, senders: Sequence[Sender], clock: Clock, more: More | None = None) -> None:
        self.endpoint, self.clock = endpoint, clock
        self._senders, self._more = senders, more
        self.events = Events(math.inf)  # events before `record` is called do not count
        self.gave_up = False
        self.repeated_s = 0.0  # time spent on levels that were held again
        self.offered_rps, self.clients_now = 0.0, 0  # of the schedule, or of the closed loop: the other one is 0
        self.shown_to: Callable[[LoadGenerator], None] | None = None  # called by `show` for those who watch a level
        self._in_flight = 0
        self._waiting_s: list[float] = []  # when each request in flight was due
        self._to_come: list[
            tuple[float, int, RequestRecord | None]
        ] = []  # events of some senders, later than what all senders have reported up to

    @property
    def collect_every_s(self) -> float:
        """Period of `collect` in seconds; longer for several senders, as each poll costs a message to a process."""
        return TICK_S if len(self._senders) == 1 else _MESSAGE_S

    @property
    def size(self) -> int:
        """Number of senders."""
        return len(self._senders)

    async def infer(self, payload: Payload) -> Answer:
        """See `Endpoint`."""
        return await self.endpoint.infer(payload)

    async def usage(self) -> Usage | None:
        """See `Endpoint`."""
        return await self.endpoint.usage()

    async def clients(self, count: int, wait_s: float) -> None:
        """Keep a closed loop of `count` clients, divided among the senders; see `Sender.clients`."""
        self.offered_rps, self.clients_now = 0.0, count
        of = len(self._senders)
        shares = [(count + of - 1 - index) // of for index in range(of)]
        await asyncio.gather(*(s.clients(n, wait_s) for s, n in zip(self._senders, shares, strict=True)))

    async def follow(self, schedule: Schedule) -> None:
        """Start to send on schedule."""
        self.offered_rps, self.clients_now = schedule.rate_rps, 0
        share = replace(schedule, most_in_flight=-(-schedule.most_in_flight // len(self._senders)))
        await asyncio.gather(*(sender.follow(share) for sender in self._senders))

    async def quiet(self, wait_s: float) -> None:
        """Stop sending, and wait up to `wait_s` seconds for the answers."""
        await asyncio.gather(*(sender.quiet(wait_s) for sender in self._senders))

    async def cancel(self) -> None:
        """Stop sending and withdraw the requests in flight."""
        await asyncio.gather(*(sender.cancel() for sender in self._senders))
        await self.collect()
        # Nothing is in flight any more, even if a cancelled `collect` has lost the events that say so.
        self._in_flight, self._to_come = 0, []

    async def grow(self) -> bool:
        """Replace the senders, whose requests have ended, by more; returns whether there was room for more."""
        if self._more is None or not (senders := await self._more(len(self._senders))):
            return False
        await self.cancel()
        self._senders = senders
        return True

    async def record(self, limits: RequestLimits | None = None) -> Events:
        """Start a new record, into which events count from now on.

        Args:
            limits: the limits that each request has to keep by itself.
        """
        await self.collect()
        self.events, self.gave_up = Events(self.clock.now(), limits=limits), False
        await self.collect()  # the first reading of the CPU seconds
        return self.events

    async def collect(self) -> None:
        """Update the record with the events up to the time that all senders have reported."""
        if len(self._senders) == 1:  # without a task: that would take two rounds of the loop that sends
            logs = [await self._senders[0].log()]
        else:
            logs = await asyncio.gather(*(sender.log() for sender in self._senders))
        for index, log in enumerate(logs):
            self._to_come += [(time_s, index, ended) for time_s, ended in log.happened]
            for time_s, late_s in log.late:
                self.events.lag(time_s, late_s)
            self.events.read_cpu(log.until_s, log.cpu_s, index)
            self.gave_up = self.gave_up or log.gave_up
        self._waiting_s = [due_s for log in logs for due_s in log.waiting_s]
        self._merge(min(log.until_s for log in logs), [log.next_due_s for log in logs])

    def show(self) -> None:
        """Show the level so far to whoever watches it, if somebody does."""
        if self.shown_to is not None:
            self.shown_to(self)

    def _merge(self, until_s: float, next_due_s: Sequence[float]) -> None:
        """Record the events up to a time, in order; for equal times each sender's own order is kept."""
        self._to_come.sort(key=itemgetter(0, 1))
        merged = 0
        for time_s, _, ended in self._to_come:
            if time_s > until_s:
                break
            merged += 1
            if ended is None:
                self._in_flight += 1
                continue
            if time_s >= self.events.start_s:
                self.events.end(ended, self._in_flight + self._unsent(time_s, next_due_s))
            self._in_flight -= 1
        del self._to_come[:merged]

    def _unsent(self, time_s: float, next_due_s: Sequence[float]) -> int:
        """Number of requests that were due but not yet sent by late senders: these count as in flight too."""
        rate_rps = self.offered_rps / len(next_due_s)
        return sum(math.ceil((time_s - due_s) * rate_rps) for due_s in next_due_s if due_s < time_s)

    def ages_s(self) -> list[float]:
        """How many seconds each request in flight has been waiting."""
        return [self.clock.now() - due_s for due_s in self._waiting_s]


def generator_of(endpoint: Endpoint, payloads: Sequence[Payload], clock: Clock) -> LoadGenerator:
    """The endpoint itself if it is a load generator; else a generator that sends from this process."""
    if isinstance(endpoint, LoadGenerator):
        return endpoint
    return LoadGenerator(endpoint, [OwnSender(endpoint, payloads, clock)], clock)
