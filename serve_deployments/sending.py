"""Requests on their way: what is in flight, since when, and what became of the others."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

from serve_deployments.clock import Clock
from serve_deployments.endpoint import Endpoint, Payload
from serve_deployments.events import Events


class Requests:
    """Sends payloads in turn, and writes down how each ended."""

    def __init__(self, endpoint: Endpoint, payloads: Sequence[Payload], clock: Clock) -> None:
        if not payloads:
            raise ValueError("a load test needs at least one payload")
        self.endpoint, self.payloads, self.clock = endpoint, payloads, clock
        self.events: Events
        self.due_s: dict[int, float] = {}  # of the requests in flight
        self.sent = 0
        self.next_due_s = math.inf  # of an open level's schedule
        self._rate_rps = 0.0

    def record(self, rate_rps: float = 0.0) -> Events:
        """From now on requests count into a new record, of a level of this rate (0: closed)."""
        self.events, self._rate_rps = Events(self.clock.now()), rate_rps
        return self.events

    async def send(self, due_s: float) -> bool:
        """Returns when the request has ended; whether it was answered.

        Its latency counts from `due_s`, not from the send: a stalled sender must not hide the queue.
        """
        number = self.sent
        self.sent += 1
        self.due_s[number] = due_s
        try:
            answered = await self._ask(self.payloads[number % len(self.payloads)])
        except BaseException:
            del self.due_s[number]
            raise
        now = self.clock.now()
        self.events.end(now, now - due_s if answered else None, self.in_flight)
        del self.due_s[number]
        return answered

    async def _ask(self, payload: Payload) -> bool:
        try:
            await self.endpoint.infer(payload)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return False  # not we were cancelled but the request, by whatever serves it
        except Exception:
            return False  # whatever failed, the load test counts it and goes on
        return True

    @property
    def in_flight(self) -> int:
        """Requests that are due and have not ended: also those that a late client has not sent yet."""
        late_s = max(0.0, self.clock.now() - self.next_due_s)
        return len(self.due_s) + math.ceil(late_s * self._rate_rps)

    def ages_s(self) -> list[float]:
        """How long each request in flight has been waiting."""
        return [self.clock.now() - due_s for due_s in self.due_s.values()]
