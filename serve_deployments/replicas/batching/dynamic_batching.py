"""Dynamic batching: requests that wait for a model are combined into one call.

A batch starts once the model is free and the batch is full, or its oldest request has waited long enough. Requests that
wait when the model becomes free are batched together, up to the largest batch, as in Clipper (Crankshaw et al., NSDI
2017, section 4.3) and most inference servers since. Why not `@serve.batch`: docs/decisions/0005.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from serve_deployments.endpoint import DescribedError, first_line
from serve_deployments.replicas.batching.batch_answers import Failed, answer_each

Rows = list[Any]


class _Request(NamedTuple):
    payload: Any
    answer: asyncio.Future[Any]
    came_s: float  # by the loop's clock


class DynamicBatching:
    """Combines waiting requests into calls of the model, each with as many requests as fit in a batch.

    One call runs at a time. But a full batch need not wait for the model to be free, as no request could join it any
    more: if the model can take another batch ahead, that is copied while the one before computes.

    Args:
        call: runs one batch; returns one result for each payload, in order.
        max_batch_size: largest number of payloads in a call.
        wait_s: how long a request waits for others while the model is free.
        ahead: returns how many full batches the model takes while another one runs; called each time.
        queued: called with the number of waiting requests each time that it changes.
        is_of_payload: whether an error may be due to one payload alone: the others of its batch are then run again.
    """

    def __init__(
        self,
        call: Callable[[Rows], Awaitable[Rows]],
        max_batch_size: int,
        wait_s: float = 0.0,
        *,
        ahead: Callable[[], int] = lambda: 0,
        queued: Callable[[int], None] = lambda requests: None,
        is_of_payload: Callable[[Exception], bool] = lambda error: True,
    ) -> None:
        self._call, self._is_of_payload = call, is_of_payload
        self._max_batch_size, self._wait_s = max_batch_size, wait_s
        self._ahead, self._queued = ahead, queued
        self._waiting: deque[_Request] = deque()
        self._running = 0  # number of batches
        self._tasks: set[asyncio.Task[None]] = set()
        self._look: asyncio.Handle | None = None  # timer of the next check of the queue

    async def __call__(self, payload: Any) -> Any:
        """The result for this payload; raises the exception of the last call of the model that it was part of."""
        loop = asyncio.get_running_loop()
        request = _Request(payload, loop.create_future(), loop.time())
        self._waiting.append(request)
        self._queued(len(self._waiting))
        if self._full:
            if self._may_begin():
                self._look_at(request.came_s)
        elif self._look is None:
            self._look_again()
        return await request.answer

    @property
    def idle(self) -> bool:
        """Whether no request waits and no batch runs."""
        return not self._waiting and not self._running

    def refuse(self, error: Exception) -> None:
        """Answer all waiting requests with an error; a running call is not affected."""
        while self._waiting:
            if not (answer := self._waiting.popleft().answer).done():
                answer.set_exception(error)
        self._queued(0)

    def _look_at(self, time_s: float) -> None:
        """Check the queue at this time of the loop, but not before its next turn: more requests may come in this."""
        if self._look is not None:
            self._look.cancel()
        self._look = asyncio.get_running_loop().call_at(time_s, self._begin)

    def _begin(self) -> None:
        """Start the batches that may start now, and schedule the next check of the queue."""
        self._look = None
        while batch := self._next():
            task = asyncio.create_task(self._run(batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._look_again()

    async def _run(self, batch: list[_Request]) -> None:
        """Run this batch and then those that may start as it ends: a task for each would cost turns of a busy loop."""
        try:
            while batch:
                try:
                    await self._answer(batch)
                finally:
                    self._running -= 1
                batch = self._next()
        finally:
            self._look_again()

    def _look_again(self) -> None:
        if self._waiting and not self._running:
            self._look_at(self._waiting[0].came_s + self._wait_s)

    def _may_begin(self) -> bool:
        if self._full:
            return self._running <= self._ahead()
        # A timer may fire one rounding error early.
        waited_s = asyncio.get_running_loop().time() - self._waiting[0].came_s
        return not self._running and waited_s >= self._wait_s - 1e-9

    @property
    def _full(self) -> bool:
        return len(self._waiting) >= self._max_batch_size

    def _next(self) -> list[_Request]:
        """The next batch, which counts as running from now on; empty if none may start.

        It has the oldest requests, as many as fit in one call; those whose callers gave up are left out.
        """
        batch: list[_Request] = []
        while not batch and self._waiting and self._may_begin():
            while self._waiting and len(batch) < self._max_batch_size:
                request = self._waiting.popleft()
                if not request.answer.done():
                    batch.append(request)
            self._queued(len(self._waiting))
        self._running += bool(batch)
        return batch

    async def _answer(self, batch: list[_Request]) -> None:
        payloads = [request.payload for request in batch]
        try:
            answers = await answer_each(self._call, payloads, is_of_payload=self._is_of_payload)
        except BaseException as error:  # no exception of the call, but the end of this task: nobody may wait for ever
            for request in batch:
                if not request.answer.done():
                    request.answer.set_exception(DescribedError(first_line(error)))
            raise
        for request, answer in zip(batch, answers, strict=True):
            if request.answer.done():  # the caller may have given up
                continue
            if isinstance(answer, Failed):
                request.answer.set_exception(answer.error)
            else:
                request.answer.set_result(answer)
