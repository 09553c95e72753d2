"""Load on a replica and on its neighbours at the same time: the endpoint of one that is measured among its copies."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Sequence

from serve_deployments.endpoint import Answer, Endpoint, Payload
from serve_deployments.resources.usage import Usage

_REMEMBERED = 100
"""Number of the last requests by which the load on the measured replica is judged. Our choice: a queue of random
arrivals has risen and fallen several times meanwhile."""

_AHEAD = 2
"""How many times as many requests as the measured replica had at most a copy may have open. Our choice: with one
client each request may still be open at its copy, which got it later, when the next one comes; a copy that is slower,
or hangs, collects no more than this."""


class AmongCopies:
    """An Endpoint that passes each request on to copies of the measured replica too, whose answers nobody waits for.

    So they have the same load, whatever the load test does: as many requests per second with random arrivals, and about
    as many at a time from clients that wait for their answers. A copy gets each request up to one answer's time later,
    at random: replicas of which each has its own clients do not form their batches at the same instant.

    Args:
        measured: endpoint of the replica that is measured.
        copies: endpoints of its neighbours.
        seed: seed of the random delays.
    """

    def __init__(self, measured: Endpoint, copies: Sequence[Endpoint], seed: int = 0) -> None:
        self._measured, self._copies = measured, tuple(copies)
        self._random = random.Random(seed)
        self._open, self._most_open = 0, deque[int](maxlen=_REMEMBERED)
        self._passed_on: Counter[int] = Counter()  # copy → requests that it has open
        self._answer_s = 0.0
        self._tasks: set[asyncio.Task[None]] = set()

    async def infer(self, payload: Payload) -> Answer:
        """See `Endpoint.infer`; if the request is withdrawn, those to the copies are too."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        self._open += 1
        self._most_open.append(self._open)
        most = _AHEAD * max(self._most_open)
        passed_on = [self._pass_on(at, payload) for at in range(len(self._copies)) if self._passed_on[at] < most]
        try:
            answer = await self._measured.infer(payload)
            self._answer_s = loop.time() - began_s
            return answer
        except asyncio.CancelledError:
            for task in passed_on:
                task.cancel()
            raise
        finally:
            self._open -= 1

    async def usage(self) -> Usage | None:
        """The counters of the measured replica."""
        return await self._measured.usage()

    def _pass_on(self, at: int, payload: Payload) -> asyncio.Task[None]:
        self._passed_on[at] += 1
        task = asyncio.ensure_future(self._ask(at, payload, self._random.uniform(0.0, self._answer_s)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: self._passed_on.subtract([at]))  # also if it was cancelled before it began
        return task

    async def _ask(self, at: int, payload: Payload, after_s: float) -> None:
        await asyncio.sleep(after_s)
        try:
            await self._copies[at].infer(payload)
        except Exception:
            return  # the copy itself is asked afterwards what it raised, and whether it still lives
