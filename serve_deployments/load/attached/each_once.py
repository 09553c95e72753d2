"""Every request sent once, on schedule: a run over a set of requests, in place of a search over levels."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Iterable, Sequence

from serve_deployments.endpoint import WHOLE, Answer, Endpoint, Payload, first_line
from serve_deployments.load.clock import Clock, RealClock
from serve_deployments.load.events import Events
from serve_deployments.load.sending import TICK_S
from serve_deployments.metrics.request_limits import RequestLimits
from serve_deployments.metrics.request_record import RequestRecord


async def each_once(
    endpoint: Endpoint,
    payloads: Sequence[Payload],
    offsets_s: Iterable[float],
    *,
    most_in_flight: int | None = None,
    limits: RequestLimits | None = None,
    clock: Clock | None = None,
    watch: Callable[[int], None] = lambda ended: None,
) -> Events:
    """The record of the requests, each sent once.

    Args:
        endpoint: what answers.
        payloads: the requests, in the order in which they are due.
        offsets_s: when each is due, in seconds from the start; it may go on after the last request.
        most_in_flight: largest number of requests that are under way at once: others that are due wait for a place,
            and their times count from when they were due. None: any number.
        limits: the limits that each request has to keep by itself.
        clock: the clock to use; the machine's by default.
        watch: told after each request how many have ended.
    """
    clock = clock or RealClock()
    places = contextlib.nullcontext() if most_in_flight is None else asyncio.Semaphore(most_in_flight)
    events = Events(clock.now(), limits=limits)
    events.read_cpu(clock.now(), clock.cpu_s())
    under_way = 0

    async def send(number: int, due_s: float) -> None:
        nonlocal under_way
        under_way += 1
        async with places:
            sent_s = clock.now()
            answer, error = await _asked(endpoint, payloads[number])
            ended_s = clock.now()
        record = RequestRecord(
            due_s, sent_s, ended_s, error, sent_s + answer.first_after_s, answer.parts, answer.size_in,
            answer.size_out, number, answer.gaps_s,
        )  # fmt: skip
        events.end(record, under_way)
        under_way -= 1
        watch(events.count)

    timer = asyncio.create_task(_watch_timer(clock, events))
    try:
        async with asyncio.TaskGroup() as tasks:
            for number, offset_s in zip(range(len(payloads)), offsets_s, strict=False):
                await clock.sleep_until(due_s := events.start_s + offset_s)
                events.lag(now := clock.now(), now - due_s)
                tasks.create_task(send(number, due_s))
    finally:
        timer.cancel()
        await asyncio.gather(timer, return_exceptions=True)
    events.read_cpu(clock.now(), clock.cpu_s())
    return events


def at_once() -> Iterable[float]:
    """Offsets of requests that are all due at the start."""
    return itertools.repeat(0.0)


async def _watch_timer(clock: Clock, events: Events) -> None:
    """Regularly records how late this process is, also while it only waits for answers."""
    while True:
        due_s = clock.now() + TICK_S
        await clock.sleep_until(due_s)
        events.lag(now := clock.now(), now - due_s)
        events.read_cpu(now, clock.cpu_s())


async def _asked(endpoint: Endpoint, payload: Payload) -> tuple[Answer, str | None]:
    try:
        return await endpoint.infer(payload), None
    except Exception as error:  # whatever failed is counted, and the others go on
        return WHOLE, first_line(error)
