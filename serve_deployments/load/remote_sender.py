"""A sender in its own process: the asynchronous Ray actor, and the coordinator's interface to it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ray

from serve_deployments.backend import LoadFailed
from serve_deployments.device.limits import can_pin, pin
from serve_deployments.endpoint import Endpoint, Payload
from serve_deployments.load.clock import Clock, RealClock
from serve_deployments.load.garbage import set_aside
from serve_deployments.load.sending import Log, OwnSender, Schedule

_ROUND_TRIPS = 5
"""Number of round trips that measure how far another machine's clock is ahead; the fastest counts, and the error is at
most half of it. Our choice."""


class SenderActor:
    """An `OwnSender` as a Ray actor; `set_target` is called first, and again for another endpoint.

    Args:
        clock: the clock of its machine; the real one by default.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or RealClock()

    def __repr__(self) -> str:
        """What Ray shows of this actor."""
        return "raytune-infer sender"

    async def set_target(
        self, endpoint: Callable[[], Endpoint], payloads: Sequence[Payload], index: int, of: int, cores: Iterable[int]
    ) -> str:
        """Send to another endpoint from now on.

        Args:
            endpoint: creates the endpoint, inside the actor.
            payloads: the payloads of all senders together.
            index: number of this sender, from 0.
            of: number of senders.
            cores: numbers of the cores to run on.

        Returns:
            The machine's name.
        """
        if can_pin():
            pin(cores)
        self._sender = OwnSender(endpoint(), payloads, self._clock, index, of)
        set_aside()
        return socket.gethostname()

    async def now(self) -> float:
        """Time of the actor's clock in seconds."""
        return self._clock.now()

    async def clients(self, count: int, wait_s: float) -> None:
        """See `Sender`."""
        await self._sender.clients(count, wait_s)

    async def follow(self, schedule: Schedule) -> None:
        """See `Sender`."""
        await self._sender.follow(schedule)

    async def quiet(self, wait_s: float) -> None:
        """See `Sender`."""
        await self._sender.quiet(wait_s)

    async def cancel(self) -> None:
        """See `Sender`."""
        await self._sender.cancel()

    async def log(self) -> Log:
        """See `Sender`."""
        return await self._sender.log()


@dataclass(frozen=True)
class RemoteSender:
    """The coordinator's interface to a `SenderActor`; all times are in the coordinator's clock.

    Args:
        actor: the actor's handle.
        ahead_s: seconds by which the actor's clock is ahead of the coordinator's.
    """

    actor: Any
    ahead_s: float = 0.0

    @classmethod
    async def with_target(cls, actor: Any, *args: Any, clock: Clock | None = None) -> RemoteSender:
        """Sets the actor's target and returns the sender; processes on the same machine share a clock.

        Args:
            actor: the actor's handle.
            args: arguments of `SenderActor.set_target`.
            clock: the coordinator's clock; the real one by default.
        """
        host = await _answer(actor.set_target.remote(*args))
        return cls(actor, 0.0 if host == socket.gethostname() else await _ahead_s(actor, clock or RealClock()))

    async def clients(self, count: int, wait_s: float) -> None:
        """See `Sender`."""
        await _answer(self.actor.clients.remote(count, wait_s))

    async def follow(self, schedule: Schedule) -> None:
        """See `Sender`."""
        await _answer(self.actor.follow.remote(replace(schedule, start_s=schedule.start_s + self.ahead_s)))

    async def quiet(self, wait_s: float) -> None:
        """See `Sender`."""
        await _answer(self.actor.quiet.remote(wait_s))

    async def cancel(self) -> None:
        """See `Sender`."""
        await _answer(self.actor.cancel.remote())

    async def log(self) -> Log:
        """See `Sender`."""
        log: Log = await _answer(self.actor.log.remote())
        return log.earlier(self.ahead_s) if self.ahead_s else log


async def _ahead_s(actor: Any, clock: Clock) -> float:
    """Seconds by which the actor's clock is ahead of this one, taking it as read halfway through a round trip."""
    trips = []
    for _ in range(_ROUND_TRIPS):
        asked_s = clock.now()
        there_s = await _answer(actor.now.remote())
        told_s = clock.now()
        trips.append((told_s - asked_s, there_s - (asked_s + told_s) / 2))
    return min(trips)[1]


async def _answer(reference: Any) -> Any:
    """The result of an actor's call.

    Raises:
        LoadFailed: the actor died.
    """
    try:
        return await reference
    except ray.exceptions.RayActorError as error:
        raise LoadFailed("a load-sending process died, so its level could not be measured") from error
