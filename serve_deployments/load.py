"""One level of load, held until its question is answered: `Clients` for a closed loop, `open_level` for a rate."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from serve_deployments.clock import Clock, RealClock
from serve_deployments.endpoint import Endpoint, Payload
from serve_deployments.measurement import Load
from serve_deployments.plan import LoadPlan
from serve_deployments.rules import Finding, Rule, UntilKnown, UntilPrecise
from serve_deployments.sending import Requests
from serve_deployments.summary import Level, summarise

_TICK_S = 0.02  # how often a level is looked after
_AFTER_ERROR_S = 0.05  # least time between a client's sends if the first failed: a refusal is no work done


async def _watch(
    requests: Requests, rule: Rule, deadline_s: float, sender: asyncio.Task[None] | None = None
) -> tuple[Finding | None, bool]:
    """Until the rule says that the level is over, or its time is. Its finding, and whether the sender gave up."""
    events, clock = requests.events, requests.clock
    due_s, looked_at = clock.now(), 0
    events.read_cpu(due_s, clock.cpu_s())
    while True:
        due_s = max(due_s + _TICK_S, clock.now())
        await clock.sleep_until(due_s)
        now = clock.now()
        events.read_cpu(now, clock.cpu_s())
        if sender is None:
            events.lag(now, now - due_s)
        elif sender.done():
            sender.result()
            return rule.look(events, last=True), True
        if now >= deadline_s:
            return rule.look(events, last=True), False
        ended = len(events.ended_s)
        if ended > (1 + rule.look_after) * looked_at:
            looked_at = ended
            if (finding := rule.look(events)) is not None and finding.over:
                return finding, False


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

    async def hold(self, concurrency: int, plan: LoadPlan, rule: Rule | None = None) -> Load:
        """One level.

        Args:
            concurrency: clients.
            plan: how to measure.
            rule: when the level ends; once its rate is known to the plan's precision unless given.

        Raises:
            ValueError: fewer than one client.
        """
        if concurrency < 1:
            raise ValueError(f"a closed loop needs one client or more, got {concurrency}")
        started_s, started_at = self._clock.now(), self._clock.unix_s()
        await self._resize(concurrency)
        events = self._requests.record()
        finding, _ = await _watch(self._requests, rule or UntilPrecise(plan), started_s + plan.level_max_s)
        level = Level("closed", concurrency, None, started_at, self._clock.unix_s())
        # Where nothing at all was answered, how long it has been waited for is all there is to say.
        late_s = () if events.ended_s else self._requests.ages_s()
        return summarise(level, events, finding, late_s, until_s=self._clock.now())

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
    at_most: Mapping[str, float] | None = None,
    rule: Rule | None = None,
) -> Load:
    """Requests at scheduled times, whether or not earlier ones have been answered.

    Args:
        endpoint: what answers.
        payloads: sent in turn.
        rate_rps: mean rate of the schedule.
        plan: how to measure.
        clock: time; the machine's unless given.
        max_in_flight: stops the level as overloaded; `plan.max_in_flight` unless given.
        at_most: metric → largest value allowed; the level ends once it is known whether all limits are kept.
        rule: when the level ends, where that is not all.
    """
    clock = clock or RealClock()
    schedule = plan.arrivals.offsets(rate_rps, plan.seed)
    requests = Requests(endpoint, payloads, clock)
    started_s, started_at = clock.now(), clock.unix_s()
    events = requests.record(rate_rps)
    tasks: set[asyncio.Task[bool]] = set()
    bound = min(max_in_flight or math.inf, plan.max_in_flight)
    sender = asyncio.create_task(_send_all(requests, schedule, started_s, bound, tasks))
    try:
        rule = rule or UntilKnown(plan, rate_rps, at_most or {})
        finding, gave_up = await _watch(requests, rule, started_s + plan.level_max_s, sender)
        await _end([sender])
        level = Level("open", None, rate_rps, started_at, clock.unix_s(), gave_up)
        stopped_s, ended = clock.now(), len(events.ended_s)
        if tasks:
            await asyncio.wait(tasks, timeout=plan.drain_s)
        after_s = [latency_s for latency_s in events.latency_s[ended:] if not math.isnan(latency_s)]
        return summarise(level, events, finding, [*after_s, *requests.ages_s()], until_s=stopped_s, ended=ended)
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
        now = requests.clock.now()
        requests.events.lag(now, now - due_s)
        if len(tasks) >= bound:
            return
        task = asyncio.create_task(requests.send(due_s))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
