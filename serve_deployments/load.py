"""One level of load, held until it is steady: `Clients` for a closed loop, `open_level` for a rate."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np

from serve_deployments import arrivals
from serve_deployments.clock import Clock, RealClock
from serve_deployments.endpoint import Endpoint, Payload
from serve_deployments.measurement import Load
from serve_deployments.plan import LoadPlan
from serve_deployments.sending import Requests
from serve_deployments.summary import Level, summarise
from serve_deployments.windows import Window

_TICK_S = 0.02  # how often a level is looked at
_AFTER_ERROR_S = 0.05  # least time between a client's sends if the first failed: a refusal is no work done


Hopeless = Callable[[Sequence[Window]], bool]
"""Whether the windows that would be measured already say that the level fails, steady or not."""


async def _watch(
    requests: Requests,
    deadline_s: float,
    sender: asyncio.Task[None] | None = None,
    hopeless: Hopeless = lambda windows: False,
) -> bool:
    """Until the level is steady, overloaded, hopeless or out of time. True: it counts as overloaded."""
    windows, clock = requests.windows, requests.clock
    due_s = clock.now()
    while True:
        due_s = max(due_s + _TICK_S, clock.now())
        await clock.sleep_until(due_s)
        now = clock.now()
        if sender is None:
            windows.lag(now - due_s)
        closed = windows.tick(now, requests.in_flight, clock.cpu_s())
        if sender is not None and sender.done():
            sender.result()
            return True
        if closed and windows.queue_keeps_growing:
            return True
        if (closed and (windows.enough or hopeless(windows.measured))) or now >= deadline_s:
            return False


async def _end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancels what still runs and waits until it has ended."""
    running = list(tasks)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


class Clients:
    """A closed loop: each client sends its next request when its last one has ended.

    An asynchronous context manager. From level to level clients are added or dismissed, while the others go
    on: the server stays busy, so that the next level warms up faster. Leaving waits up to `drain_s` for the
    last answers; after an exception everything is cancelled at once.
    """

    def __init__(
        self, endpoint: Endpoint, payloads: Sequence[Payload], plan: LoadPlan, clock: Clock | None = None
    ) -> None:
        self._clock = clock or RealClock()
        self._requests = Requests(endpoint, payloads, self._clock)
        self._plan = plan
        self._wanted = 0
        self._tasks: dict[int, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._wanted = 0
        try:
            if kind is None and self._tasks:
                await asyncio.wait(self._tasks.values(), timeout=self._plan.drain_s)
        finally:
            await _end(self._tasks.values())

    async def hold(self, concurrency: int, plan: LoadPlan) -> Load:
        """One level.

        Raises:
            ValueError: fewer than one client.
        """
        if concurrency < 1:
            raise ValueError(f"a closed loop needs one client or more, got {concurrency}")
        started_s, started_at = self._clock.now(), self._clock.unix_s()
        await self._resize(concurrency)
        windows = self._requests.count(plan)
        await _watch(self._requests, started_s + plan.level_max_s)
        level = Level("closed", concurrency, None, started_at, self._clock.unix_s())
        rest = windows.open_window(self._clock.now(), len(self._requests.due_s), self._clock.cpu_s())
        # Where nothing at all was answered, how long it has been waited for is all there is to say.
        return summarise(level, windows, rest, late_s=self._requests.ages_s() if not windows.closed else ())

    async def _resize(self, concurrency: int) -> None:
        self._wanted = concurrency
        dismissed = [task for index, task in self._tasks.items() if index >= concurrency and not task.done()]
        if dismissed:
            await asyncio.wait(dismissed, timeout=self._plan.drain_s)
        for index in range(concurrency):
            if index not in self._tasks or self._tasks[index].done():
                self._tasks[index] = asyncio.create_task(self._client(index))

    async def _client(self, index: int) -> None:
        while index < self._wanted:
            sent_s = self._clock.now()
            if not await self._requests.send(sent_s):
                await self._clock.sleep_until(sent_s + _AFTER_ERROR_S)


async def closed_level(
    endpoint: Endpoint,
    payloads: Sequence[Payload],
    concurrency: int,
    plan: LoadPlan,
    *,
    clock: Clock | None = None,
) -> Load:
    """A closed loop of `concurrency` clients, from start to end."""
    async with Clients(endpoint, payloads, plan, clock) as clients:
        return await clients.hold(concurrency, plan)


async def open_level(
    endpoint: Endpoint,
    payloads: Sequence[Payload],
    rate_rps: float,
    plan: LoadPlan,
    *,
    clock: Clock | None = None,
    max_in_flight: int | None = None,
    hopeless: Hopeless = lambda windows: False,
) -> Load:
    """Requests at scheduled times, whether or not earlier ones have been answered.

    Args:
        endpoint: what answers.
        payloads: sent in turn.
        rate_rps: mean rate of the schedule.
        plan: how to measure.
        clock: time; the machine's unless given.
        max_in_flight: stops the level as overloaded; `plan.max_in_flight` unless given.
        hopeless: stops the level early, asked after each window.
    """
    clock = clock or RealClock()
    schedule = (
        arrivals.poisson(rate_rps, np.random.default_rng(plan.seed))
        if plan.arrivals == "poisson"
        else arrivals.constant(rate_rps)
    )
    requests = Requests(endpoint, payloads, clock)
    started_s, started_at = clock.now(), clock.unix_s()
    windows = requests.count(plan, rate_rps)
    tasks: set[asyncio.Task[bool]] = set()
    bound = min(max_in_flight or math.inf, plan.max_in_flight)
    sender = asyncio.create_task(_send_all(requests, schedule, started_s, bound, tasks))
    try:
        overloaded = await _watch(requests, started_s + plan.level_max_s, sender, hopeless)
        await _end([sender])
        level = Level("open", None, rate_rps, started_at, clock.unix_s(), overloaded)
        rest = windows.open_window(clock.now(), requests.in_flight, clock.cpu_s())
        if tasks:
            await asyncio.wait(tasks, timeout=plan.drain_s)
        after = windows.open_window(clock.now(), 0, clock.cpu_s()).latencies_s
        late = after if windows.closed else after[len(rest.latencies_s) :]
        return summarise(level, windows, rest, late_s=[*late, *requests.ages_s()])
    finally:
        await _end([sender, *tasks])


async def _send_all(
    requests: Requests,
    schedule: Iterator[float],
    started_s: float,
    bound: float,
    tasks: set[asyncio.Task[bool]],
) -> None:
    """Sends on schedule until more than `bound` are in flight."""
    for offset_s in schedule:
        due_s = requests.next_due_s = started_s + offset_s
        await requests.clock.sleep_until(due_s)
        requests.windows.lag(requests.clock.now() - due_s)
        if len(tasks) >= bound:
            return
        task = asyncio.create_task(requests.send(due_s))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
