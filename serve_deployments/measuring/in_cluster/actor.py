"""The Ray actor that runs load tests: in its own process in the cluster, so that the study does not slow it down."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from serve_deployments.device.limits import can_pin, machine_cores, pin, unleased_cores
from serve_deployments.endpoint import Endpoint, Payload
from serve_deployments.load.asking import AskingBounds, ask
from serve_deployments.load.clock import RealClock
from serve_deployments.load.garbage import set_aside
from serve_deployments.load.load_generator import LoadGenerator
from serve_deployments.load.places import Place, free_places
from serve_deployments.load.remote_sender import RemoteSender
from serve_deployments.load.sending import OwnSender, Sender
from serve_deployments.measuring.in_cluster.level_gauges import shown
from serve_deployments.measuring.level import closed_level, open_level
from serve_deployments.measuring.load_test import LoadTest
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.metrics.answers.content import Content, Unanswered
from serve_deployments.metrics.level_result import LevelResult
from serve_deployments.metrics.measurement import Measurement
from serve_deployments.settings import Settings

T = TypeVar("T")


class LoadActor:
    """Sends load to one endpoint and measures it; `ray.remote(LoadActor)` makes it an asynchronous actor.

    It sends from its own process until that is the bottleneck, then from more processes, as many as there are cores
    for. CPU shares are measured for whole processes, so an actor runs one test at a time; a second one is refused.
    `ray.cancel` on a call and `close` both end a test without leaving requests behind.

    Args:
        endpoint: see `set_target`; None if `set_target` is called later.
        payloads: see `set_target`.
    """

    def __init__(self, endpoint: Callable[[], Endpoint] | None = None, payloads: Sequence[Payload] = ()) -> None:
        self._own_cores: set[int] = set()
        self._senders: dict[Place, Any] = {}  # kept for the next endpoint
        self._running: asyncio.Task[Any] | None = None
        if endpoint is not None:
            self._set_target(endpoint, payloads)

    def __repr__(self) -> str:
        """What Ray shows of this actor, in the Dashboard and before each line of its log."""
        return "raytune-infer load generator"

    async def set_target(self, endpoint: Callable[[], Endpoint], payloads: Sequence[Payload]) -> None:
        """Send to another endpoint from now on.

        Args:
            endpoint: creates the endpoint inside the actor, as a Serve handle must be created where it is used.
            payloads: payloads of the requests, sent in turn.
        """
        self._set_target(endpoint, payloads)

    def _set_target(self, endpoint: Callable[[], Endpoint], payloads: Sequence[Payload]) -> None:
        if not payloads:
            raise ValueError("a load test needs at least one payload")
        made, clock = endpoint(), RealClock()
        # This process alone, until that is the bottleneck.
        self._generator = LoadGenerator(
            made, [OwnSender(made, payloads, clock)], clock, partial(self._more, endpoint, payloads)
        )
        self._endpoint, self._payloads = made, payloads
        set_aside()

    async def _more(
        self, endpoint: Callable[[], Endpoint], payloads: Sequence[Payload], senders: int
    ) -> Sequence[Sender]:
        """Twice as many senders, each in its own process, or fewer if cores are short; empty if there is no room."""
        free = await free_places()
        places = free[: 2 * senders]
        if len(places) <= senders:
            return ()
        for place in places:
            if place not in self._senders:
                self._senders[place] = place.start()
        return await asyncio.gather(
            *(
                RemoteSender.with_target(self._senders[place], endpoint, payloads, index, len(places), place.cores)
                for index, place in enumerate(places)
            )
        )

    async def pin_to_free_cores(self) -> bool:
        """Pin this process to the cores of its machine that no replica leases; returns False if there are none."""
        self._own_cores = unleased_cores(machine_cores())
        if self._own_cores and can_pin():
            pin(self._own_cores)
        return bool(self._own_cores)

    async def is_apart(self) -> bool:
        """Whether the cores that this process was pinned to are still not leased by any replica."""
        return unleased_cores(self._own_cores) == self._own_cores

    async def run(
        self,
        load_test: LoadTest,
        settings: Settings,
        to_beat_rps: float | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Measurement:
        """See `LoadTest.run`; each level is shown by gauges with these labels, if there are any."""
        running = load_test.run(
            self._generator, self._payloads, settings, clock=self._generator.clock, to_beat_rps=to_beat_rps
        )
        with shown(self._generator, labels or {}):
            return await self._alone(running)

    async def ask(self, clients: int, bounds: AskingBounds) -> list[Content | Unanswered]:
        """Ask each payload once; see `asking.ask`."""
        return await self._alone(ask(self._endpoint, self._payloads, clients, bounds))

    async def closed(self, concurrency: int, plan: LoadPlan) -> LevelResult:
        """Hold one closed level of `concurrency` clients."""
        return await self._alone(closed_level(self._generator, self._payloads, concurrency, plan))

    async def open(self, rate_rps: float, plan: LoadPlan) -> LevelResult:
        """Hold one open level of `rate_rps` requests per second."""
        return await self._alone(open_level(self._generator, self._payloads, rate_rps, plan))

    async def close(self) -> None:
        """End the running test, if any; its caller then gets a cancellation error."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def _alone(self, test: Coroutine[Any, Any, T]) -> T:
        # A test that has ended counts as not running, even before the call that waits for it has returned.
        if self._running is not None and not self._running.done():
            test.close()
            raise RuntimeError("this actor is running a load test already; wait for it, or close() it")
        running = self._running = asyncio.ensure_future(test)
        try:
            return await running
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
