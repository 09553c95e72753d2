"""A fake batching server and a virtual clock with exactly known behaviour, against which measurements are checked."""

from __future__ import annotations

import asyncio
import selectors
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from serve_deployments.endpoint import Answer, Payload
from serve_deployments.resources.usage import RECENT, BatchTime, Usage

T = TypeVar("T")


class _Skipping(selectors.DefaultSelector):
    """A selector that does not wait: the loop's time jumps instead."""

    time_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if timeout is None and not ready:
            raise RuntimeError("virtual time cannot advance: a task waits, but no timer is pending (deadlock)")
        if not ready and timeout is not None and timeout > 0:
            self.time_s += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next timer: hours pass in milliseconds, reproducibly."""

    def __init__(self) -> None:
        self._skipping = _Skipping()
        super().__init__(self._skipping)

    def time(self) -> float:
        """Virtual seconds since the loop was created."""
        return self._skipping.time_s


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


@dataclass(frozen=True)
class VirtualClock:
    """The clock of a `VirtualLoop`.

    Args:
        cpu_share: simulated CPU use of the client, as a share of one core.
        late_s: seconds by which each sleep ends late, to simulate a client that cannot keep up.
        ahead_s: seconds by which it is ahead of the loop's time at the start, like another machine's clock.
        drift: seconds that it gains per second of the loop's time.
    """

    cpu_share: float = 0.0
    late_s: float = 0.0
    ahead_s: float = 0.0
    drift: float = 0.0

    def now(self) -> float:
        """Virtual time in seconds."""
        return self.ahead_s + (1 + self.drift) * asyncio.get_running_loop().time()

    async def sleep_until(self, time_s: float) -> None:
        """Returns exactly `late_s` after `time_s`."""
        await asyncio.sleep(max(0.0, time_s + self.late_s - self.now()) / (1 + self.drift))

    def unix_s(self) -> float:
        """Virtual seconds since 1970."""
        return self.now()

    def cpu_s(self) -> float:
        """Simulated CPU seconds used."""
        return self.cpu_share * asyncio.get_running_loop().time()


@dataclass
class FakeServer:
    """An Endpoint that forms batches like a replica, in the time of the running loop.

    A core takes a batch when `max_batch` requests wait or the oldest has waited `wait_s`.

    Args:
        service_s: batch size → seconds that a batch takes.
        max_batch: largest number of requests in a batch.
        wait_s: how long a batch waits to become full.
        cores: number of batches served at once.
        max_queue: largest number of waiting requests; further ones fail at once. None: no bound.
        fails: number of a request in the order of arrival, from 0 → whether it fails when served.
        drops: number of a request → whether it is served but never answered, like one that an engine has lost.
        stalls: pairs (start, length) in seconds of the loop's time, during which no batch is started.
        stalled_by_others: whether other work on the cores is what stalls it. The CPU times of other processes are only
            reported with stalls.
        answers: payload → what the model answers.
        arrived_s: times at which the requests arrived, filled as they do.
        payloads: payloads of the requests, in the same order.
        in_flight: number of requests that have not been answered.
        most_in_flight: the largest value that `in_flight` has had.
    """

    service_s: Callable[[int], float]
    max_batch: int = 1
    wait_s: float = 0.0
    cores: int = 1
    max_queue: int | None = None
    fails: Callable[[int], bool] = lambda number: False
    drops: Callable[[int], bool] = lambda number: False
    stalls: tuple[tuple[float, float], ...] = ()
    stalled_by_others: bool = True
    answers: Callable[[Payload], Any] = lambda payload: None
    arrived_s: list[float] = field(default_factory=list)
    payloads: list[Payload] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0
    _queue: deque[tuple[float, int, asyncio.Future[None]]] = field(default_factory=deque)
    _busy: int = 0
    _ended: list[BatchTime] = field(default_factory=list)

    @property
    def peak_rps(self) -> float:
        """Largest number of requests per second that the server can answer."""
        return max(self.cores * batch / self.service_s(batch) for batch in range(1, self.max_batch + 1))

    async def infer(self, payload: Payload) -> Answer:
        """Returns when the request's batch is done.

        Raises:
            ConnectionError: the request fails as `fails` says, or the queue is full.
        """
        loop = asyncio.get_running_loop()
        number = len(self.arrived_s)
        self.arrived_s.append(loop.time())
        self.payloads.append(payload)
        if self.max_queue is not None and len(self._queue) >= self.max_queue:
            raise ConnectionError("queue full")
        answer: asyncio.Future[None] = loop.create_future()
        self._queue.append((loop.time(), number, answer))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            self._serve()
            await answer
        finally:
            self.in_flight -= 1
        return Answer(content=self.answers(payload))

    async def usage(self) -> Usage:
        """Usage since the loop began; `busy_s` may exceed `seconds`, as each core may run a batch."""
        now_s = asyncio.get_running_loop().time()
        others_s = sum(min(max(now_s - start_s, 0.0), length_s) for start_s, length_s in self.stalls)
        return Usage(
            seconds=now_s,
            batches=Counter(batch.size for batch in self._ended),
            busy_s=sum(batch.seconds for batch in self._ended),
            others_s=self.cores * others_s if self.stalled_by_others else 0.0,
            cores_s=self.cores * now_s if self.stalls else 0.0,
            recent=tuple(self._ended[-RECENT:]) if self.cores == 1 else (),
        )

    def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        while self._busy < self.cores:
            while self._queue and self._queue[0][2].cancelled():
                self._queue.popleft()
            if not self._queue:
                return
            now, due = loop.time(), self._queue[0][0] + self.wait_s
            if len(self._queue) >= self.max_batch:
                due = now
            due = max([due, *(start + length for start, length in self.stalls if 0 <= now - start < length)])
            # A timer may fire one rounding error early.
            if due > now + 1e-9:
                loop.call_at(due, self._serve)
                return
            batch = [self._queue.popleft() for _ in range(min(self.max_batch, len(self._queue)))]
            self._busy += 1
            loop.call_later(took_s := self.service_s(len(batch)), self._finish, batch, took_s)

    def _finish(self, batch: list[tuple[float, int, asyncio.Future[None]]], took_s: float) -> None:
        self._busy -= 1
        self._ended.append(BatchTime(len(batch), took_s))
        for _, number, answer in batch:
            if answer.done() or self.drops(number):
                continue
            if self.fails(number):
                answer.set_exception(ConnectionError(f"request {number} fails, as arranged"))
            else:
                answer.set_result(None)
        self._serve()
