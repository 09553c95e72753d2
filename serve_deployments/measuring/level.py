"""Holding one level of load until its question is answered: `Clients` for a closed loop, `open_level` for a rate."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Self

from serve_deployments.endpoint import Endpoint, Payload
from serve_deployments.load.clock import Clock, RealClock
from serve_deployments.load.events import Events
from serve_deployments.load.load_generator import LoadGenerator, generator_of
from serve_deployments.load.sending import Schedule
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.measuring.stopping_rules import LevelStatus, StoppingRule, UntilKnown, UntilPrecise
from serve_deployments.measuring.summary import LevelRun, summarise
from serve_deployments.metrics.level_result import LevelResult
from serve_deployments.resources.usage import Usage

_REPEATS = 1 / 3  # largest share of a search's time for levels that are repeated with more senders (our choice)
LONGER = 1.5  # how much longer than the longest batch so far the next may take: the load grows (our choice)
_USAGE_S = 1.0  # how long to wait for the usage of a replica that may be too busy to report it (our choice)


async def _watch(generator: LoadGenerator, rule: StoppingRule, started_s: float, plan: LoadPlan) -> LevelStatus | None:
    """Waits until the rule ends the level, its time is up or the senders gave up; returns the rule's status.

    A level that has seen too little by `level_max_s` goes on within the plan's patience: its requests take that long.
    """
    events, clock = generator.events, generator.clock
    due_s, checked_at, at_longest = clock.now(), 0, -1
    while True:
        due_s = max(due_s + generator.collect_every_s, clock.now())
        await clock.sleep_until(due_s)
        await generator.collect()
        generator.show()
        held_s = clock.now() - started_s
        ended = events.count
        if generator.gave_up or (held_s >= plan.level_max_s and held_s >= _patience_s(events, plan)):
            return rule.check(events, last=True)
        if held_s >= plan.level_max_s and ended != at_longest:  # else the answer is the same as at the last tick
            at_longest = ended
            if rule.has_enough(events):
                return rule.check(events, last=True)
        if ended > (1 + rule.check_after) * checked_at:
            checked_at = ended
            if (status := rule.check(events)) is not None and status.over:
                return status


def _patience_s(events: Events, plan: LoadPlan) -> float:
    """How long a level may last that has not seen enough, by its first request where the plan goes by that."""
    first_s = float(events.requests(0, 1).latency_s[0]) if events.count else 0.0
    return plan.patience.until_s(0.0 if math.isnan(first_s) else first_s)


async def _stronger(generator: LoadGenerator, level: LevelResult, plan: LoadPlan) -> bool:
    """Adds senders if they were the level's bottleneck; returns whether the level is to be held again with them."""
    if not level.client_limited:
        return False
    generator.repeated_s += level.ended_at - level.started_at
    return generator.repeated_s <= _REPEATS * plan.total_max_s and await generator.grow()


async def _usage(generator: LoadGenerator) -> Usage | None:
    """The server's usage so far; None if it does not report it in time."""
    with suppress(Exception):  # if the server is broken, its requests will show it
        return await asyncio.wait_for(generator.usage(), _USAGE_S)
    return None


def longest_batch_s(levels: Iterable[LevelResult]) -> float:
    """Seconds of the longest batch that these levels saw; 0 if none was reported."""
    seen = [batch.seconds for level in levels if level.usage is not None for batch in level.usage.recent]
    return max(seen, default=0.0)


def _between(before: Usage | None, after: Usage | None) -> Usage | None:
    """The server's usage in a level; None if it was not reported, or the server was replaced meanwhile."""
    if before is None or after is None:
        return None
    with suppress(ValueError):
        return after.since(before)
    return None


class Clients:
    """A closed loop: each client sends its next request when its last one has ended.

    An asynchronous context manager. From level to level clients are added or removed while the others continue: the
    server stays busy, so that the next level warms up faster. Leaving the context waits up to `drain_s` for the last
    answers, or longer where batches took longer; after an exception all requests are cancelled at once.
    """

    def __init__(
        self, endpoint: Endpoint, payloads: Sequence[Payload], plan: LoadPlan, clock: Clock | None = None
    ) -> None:
        self._generator = generator_of(endpoint, payloads, clock or RealClock())
        self._drain_s, self._samples = plan.drain_s, len(payloads)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                await self._generator.quiet(self._drain_s)
        finally:
            await self._generator.cancel()

    async def hold(self, concurrency: int, plan: LoadPlan, rule: StoppingRule | None = None) -> LevelResult:
        """Holds one level; repeats it with more senders while they are the bottleneck and more can be added.

        Args:
            concurrency: number of clients.
            plan: how to measure.
            rule: when the level ends; by default once its rate is known to the plan's precision.

        Raises:
            ValueError: fewer than one client.
        """
        if concurrency < 1:
            raise ValueError(f"a closed loop needs one client or more, got {concurrency}")
        while True:
            level = await self._hold(concurrency, plan, rule or UntilPrecise(plan))
            self._drain_s = max(self._drain_s, plan.drain_s, LONGER * longest_batch_s([level]))
            if not await _stronger(self._generator, level, plan):
                return replace(level, samples=self._samples)

    async def _hold(self, concurrency: int, plan: LoadPlan, rule: StoppingRule) -> LevelResult:
        generator, clock = self._generator, self._generator.clock
        started_s, started_at = clock.now(), clock.unix_s()
        before = await _usage(generator)
        await generator.clients(concurrency, self._drain_s)
        events = await generator.record(plan.request_limits)
        status = await _watch(generator, rule, started_s, plan)
        until_s, ended = clock.now(), events.count
        run = LevelRun("closed", concurrency, None, started_at, clock.unix_s())
        # If nothing was answered, the waiting times so far are all that is known.
        ages_s = () if events.count else generator.ages_s()
        usage = _between(before, await _usage(generator))
        level = summarise(run, events, status, ages_s, until_s=until_s, ended=ended, usage=usage)
        return replace(level, senders=generator.size)


async def closed_level(
    endpoint: Endpoint,
    payloads: Sequence[Payload],
    concurrency: int,
    plan: LoadPlan,
    *,
    clock: Clock | None = None,
) -> LevelResult:
    """Holds one closed level of `concurrency` clients, and ends the clients afterwards."""
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
    rule: StoppingRule | None = None,
    background: float | None = None,
) -> LevelResult:
    """Holds one open level: requests at scheduled times, whether or not earlier ones have been answered.

    Args:
        endpoint: the endpoint that answers.
        payloads: payloads of the requests, sent in turn.
        rate_rps: mean rate of the schedule.
        plan: how to measure.
        clock: the clock to use; the machine's by default.
        max_in_flight: number of requests in flight at which the level is stopped as overloaded; at most, and by
            default, `plan.max_in_flight`.
        at_most: metric → largest value allowed; the level ends once it is known whether all limits are kept.
        rule: when the level ends, if not by `at_most` alone.
        background: the share that other work has of the replica's cores all the time; None: not known (`summarise`).
    """
    generator = generator_of(endpoint, payloads, clock or RealClock())
    bound = min(max_in_flight or plan.max_in_flight, plan.max_in_flight)
    rule = rule or UntilKnown(plan, rate_rps, at_most or {})
    while True:
        level = await _open(generator, rate_rps, plan, bound, rule, background)
        if not await _stronger(generator, level, plan):
            return replace(level, samples=len(payloads))


async def _open(
    generator: LoadGenerator,
    rate_rps: float,
    plan: LoadPlan,
    bound: int,
    rule: StoppingRule,
    background: float | None,
) -> LevelResult:
    clock = generator.clock
    try:
        before = await _usage(generator)
        started_s, started_at = clock.now(), clock.unix_s()
        events = await generator.record(plan.request_limits)
        await generator.follow(Schedule(plan.arrivals, rate_rps, plan.seed, started_s, bound))
        status = await _watch(generator, rule, started_s, plan)
        run = LevelRun("open", None, rate_rps, started_at, clock.unix_s(), generator.gave_up)
        stopped_s, ended = clock.now(), events.count
        after, _ = await asyncio.gather(_usage(generator), generator.quiet(plan.drain_s))
        usage = _between(before, after)
        await generator.collect()
        ages_s = generator.ages_s()
        level = summarise(
            run, events, status, ages_s, until_s=stopped_s, ended=ended, usage=usage, background=background
        )
        return replace(level, senders=generator.size)
    finally:
        await generator.cancel()
