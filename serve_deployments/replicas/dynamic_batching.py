"""Dynamic batching: requests that wait for a model become one call of it.

A batch goes in once the model is free and the batch is full, or its oldest request has waited long enough. Whatever
waits when the model becomes free goes in together, up to the largest batch, as in Clipper (Crankshaw et al., NSDI 2017,
section 4.3) and most inference servers since. Why not `@serve.batch`: docs/decisions/0005.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

Rows = list[Any]


class _Request(NamedTuple):
    payload: Any
    answer: asyncio.Future[Any]
    came_s: float  # by the loop's clock


class DynamicBatching:
    """Calls of the model, each of as many waiting requests as fit in a batch.

    One call at a time; but a batch that is full already need not wait for the model to be free, as nobody could join it
    any more: where the model can have one under way ahead, its copies go on while the one before computes.

    Args:
        call: runs one batch; a result for each payload, in order.
        max_batch_size: payloads in a call at most.
        wait_s: how long a request waits for others while the model is free.
        ahead: full batches that the model takes while another one runs; asked for each time.
        queued: told how many requests wait, each time that changes.
    """

    def __init__(
        self,
        call: Callable[[Rows], Awaitable[Rows]],
        max_batch_size: int,
        wait_s: float = 0.0,
        *,
        ahead: Callable[[], int] = lambda: 0,
        queued: Callable[[int], None] = lambda requests: None,
    ) -> None:
        self._call = call
        self._max_batch_size, self._wait_s = max_batch_size, wait_s
        self._ahead, self._queued = ahead, queued
        self._waiting: deque[_Request] = deque()
        self._running = 0  # batches
        self._tasks: set[asyncio.Task[None]] = set()
        self._look: asyncio.Handle | None = None  # when the queue will be looked at

    async def __call__(self, payload: Any) -> Any:
        """The result for this payload; raises what the model raised on the call that it was part of."""
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
        """Whether nothing waits and nothing runs."""
        return not self._waiting and not self._running

    def refuse(self, error: Exception) -> None:
        """Answer all that wait with an error; the call that runs is not disturbed."""
        while self._waiting:
            if not (answer := self._waiting.popleft().answer).done():
                answer.set_exception(error)
        self._queued(0)

    def _look_at(self, time_s: float) -> None:
        """Begin what may begin at this time of the loop; in its next turn at the earliest, as more may come in this."""
        if self._look is not None:
            self._look.cancel()
        self._look = asyncio.get_running_loop().call_at(time_s, self._begin)

    def _begin(self) -> None:
        """Begin the batches that may go in now, and look again when the next one may."""
        self._look = None
        while batch := self._next():
            task = asyncio.create_task(self._run(batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._look_again()

    async def _run(self, batch: list[_Request]) -> None:
        """This batch, and then whatever may go in as it ends: a task for each would cost turns of a busy loop."""
        while batch:
            try:
                await self._answer(batch)
            finally:
                self._running -= 1
            batch = self._next()
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
        """The next batch, which counts as running from now on; none if none may begin.

        The oldest requests, as many as fit in one call; those whose callers gave up are left out.
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
        try:
            rows = await self._call([request.payload for request in batch])
            if len(rows) != len(batch):
                raise ValueError(
                    f"the model returned {len(rows)} results for {len(batch)} payloads; one each is needed"
                )
        except Exception as error:
            for request in batch:
                if not request.answer.done():
                    request.answer.set_exception(error)
            return
        for request, row in zip(batch, rows, strict=True):
            if not request.answer.done():  # whoever waited may have given up
                request.answer.set_result(row)
