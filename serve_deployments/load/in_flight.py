"""The requests of one sender that are under way: when each was due, who waits for it, and which of them are lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, NamedTuple

from serve_deployments.load.lost_requests import LostRequests
from serve_deployments.metrics.request_record import RequestRecord


class Sent(NamedTuple):
    """A request that was sent: when it was due and sent, the number of its sample, and the task that waits for it."""

    due_s: float
    sent_s: float
    sample: int
    task: asyncio.Task[Any]


class InFlight:
    """The requests that were sent and have neither ended nor been lost, numbered in the order in which they were sent.

    Args:
        count: number of requests that were sent so far, which is the number of the next one.
    """

    def __init__(self) -> None:
        self.count = 0
        self._sent: dict[int, Sent] = {}
        self._due_s: dict[int, float] = {}  # of the same ones; all of it is told each time that the sender is asked
        self._lost = LostRequests()

    @property
    def due_s(self) -> list[float]:
        """When each of them was due, in the order of their numbers."""
        return list(self._due_s.values())

    def begin_level(self) -> None:
        """Begins a level: answers may take longer or shorter from now on."""
        self._lost.begin()

    def send(self, request: Sent) -> int:
        """Adds a request and returns its number."""
        number, self.count = self.count, self.count + 1
        self._sent[number], self._due_s[number] = request, request.due_s
        return number

    def end(self, number: int, took_s: float | None) -> bool:
        """Removes a request that has ended; returns False if it was recorded before, as one that was lost.

        Args:
            number: the number of the request.
            took_s: seconds from when it was due to its answer; None if it failed.
        """
        was_lost = self._removed(number) is None
        if took_s is not None:
            self._lost.answered(number, took_s, was_lost=was_lost)
        return not was_lost

    def look(self, now_s: float) -> tuple[list[asyncio.Task[Any]], list[RequestRecord]]:
        """The tasks of requests that seem dropped from now on, and the records of those that are lost."""
        suspected, lost = self._lost.look(self._due_s, self.count, now_s)
        return [self._sent[number].task for number in suspected], self._records(lost, now_s)

    def left(self, now_s: float) -> list[RequestRecord]:
        """The records of those that are lost where no more are sent."""
        return self._records(self._lost.left(self._due_s), now_s)

    def _records(self, lost: Iterable[int], now_s: float) -> list[RequestRecord]:
        requests = [request for number in lost if (request := self._removed(number)) is not None]
        return [_lost(request, now_s) for request in requests]

    def _removed(self, number: int) -> Sent | None:
        self._lost.ended(number)
        self._due_s.pop(number, None)
        return self._sent.pop(number, None)


def _lost(request: Sent, now_s: float) -> RequestRecord:
    error = f"no answer within {now_s - request.due_s:.3g} s, while requests that were sent later had one"
    return RequestRecord(request.due_s, request.sent_s, now_s, error, parts=0, sample=request.sample)
