"""Batches that wait for a busy model become one.

`@serve.batch` seals a batch when its wait is over, whether or not the model is free; sealed batches then queue one
behind the other. With a wait of 0 each request is a batch of its own, however many wait, and a long wait delays
everyone even when nothing else is going on. Here whatever waits when the model becomes free goes in together, up to
the largest batch, as in Clipper (Crankshaw et al., NSDI 2017, section 4.3) and most inference servers since.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

Rows = list[Any]


class Coalescing:
    """Calls of the model, each of as many waiting payloads as fit in a batch.

    One call at a time; but a batch that is full already need not wait for the model to be free, as nobody could join it
    any more: where the model can have one under way ahead, its copies go on while the one before computes.

    Args:
        call: runs one batch; a result for each payload, in order.
        max_batch_size: payloads in a call at most. No single batch handed in may be larger.
        ahead: full batches that the model takes while another one runs; asked for each time.
        queued: told how many payloads wait, each time that changes.
    """

    def __init__(
        self,
        call: Callable[[Rows], Awaitable[Rows]],
        max_batch_size: int,
        ahead: Callable[[], int] = lambda: 0,
        queued: Callable[[int], None] = lambda payloads: None,
    ) -> None:
        self._call = call
        self._max_batch_size = max_batch_size
        self._ahead, self._queued = ahead, queued
        self._payloads = 0  # of all that wait
        self._waiting: deque[tuple[Rows, asyncio.Future[Rows]]] = deque()
        self._running: set[asyncio.Task[None]] = set()

    async def __call__(self, payloads: Rows) -> Rows:
        """The results of these payloads; raises what the model raised on the call that they were part of."""
        answer: asyncio.Future[Rows] = asyncio.get_running_loop().create_future()
        self._waiting.append((payloads, answer))
        self._count(len(payloads))
        if not self._running or (len(self._running) <= self._ahead() and self._full()):
            self._running.add(asyncio.create_task(self._run()))
        return await answer

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing runs."""
        return not self._waiting and not self._running

    def refuse(self, error: Exception) -> None:
        """Answer all that wait with an error; the call that runs is not disturbed."""
        for _, answer in self._waiting:
            if not answer.done():
                answer.set_exception(error)
        self._waiting.clear()
        self._count(-self._payloads)

    async def _run(self) -> None:
        mine = asyncio.current_task()
        assert mine is not None
        try:
            while self._waiting and (self._running == {mine} or self._full()):
                if joined := self._next():
                    await self._answer(joined)
        finally:
            self._running.discard(mine)

    async def _answer(self, joined: list[tuple[Rows, asyncio.Future[Rows]]]) -> None:
        payloads = [payload for part, _ in joined for payload in part]
        try:
            rows = await self._call(payloads)
            if len(rows) != len(payloads):
                raise ValueError(
                    f"the model returned {len(rows)} results for {len(payloads)} payloads; one each is needed"
                )
        except Exception as error:
            for _, answer in joined:
                if not answer.done():
                    answer.set_exception(error)
            return
        start = 0
        for part, answer in joined:
            if not answer.done():  # whoever waited may have given up
                answer.set_result(rows[start : start + len(part)])
            start += len(part)

    def _full(self) -> bool:
        """Whether what waits fills a batch."""
        return self._payloads >= self._max_batch_size

    def _count(self, more: int) -> None:
        self._payloads += more
        self._queued(self._payloads)

    def _next(self) -> list[tuple[Rows, asyncio.Future[Rows]]]:
        """The waiting batches, oldest first, that fit in one call; those whose callers gave up are left out."""
        joined: list[tuple[Rows, asyncio.Future[Rows]]] = []
        room, gone = self._max_batch_size, 0
        while self._waiting:
            part, answer = self._waiting[0]
            if not answer.done():
                if joined and len(part) > room:
                    break
                joined.append((part, answer))
                room -= len(part)
            self._waiting.popleft()
            gone += len(part)
        self._count(-gone)
        return joined
