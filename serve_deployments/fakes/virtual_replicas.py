"""A batching server and a clock that are known exactly: what measurements are checked against."""

from __future__ import annotations

import asyncio
import selectors
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from serve_deployments.endpoint import WHOLE, Answer, Payload
from serve_deployments.usage import RECENT, Batch, Usage

T = TypeVar("T")


class _Skipping(selectors.DefaultSelector):
    """Waits for nothing: instead of a wait, the loop's time jumps."""

    time_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if timeout is None and not ready:
            raise RuntimeError("in virtual time nothing is left that could happen, yet something is awaited")
        if not ready and timeout is not None and timeout > 0:
            self.time_s += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next timer: hours pass in milliseconds, always the same way."""

    def __init__(self) -> None:
        self._skipping = _Skipping()
        super().__init__(self._skipping)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._skipping.time_s


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


@dataclass(frozen=True)
class VirtualClock:
    """The clock of a `VirtualLoop`.

    Args:
        cpu_share: how busy the client pretends to be, as a share of one core.
        late_s: how late each sleep ends: a client that cannot keep up.
        ahead_s: how far it was ahead of the loop's time at its start, as another machine's clock may be.
        drift: seconds that it gains in a second of the loop's time.
    """

    cpu_share: float = 0.0
    late_s: float = 0.0
    ahead_s: float = 0.0
    drift: float = 0.0

    def now(self) -> float:
        """Virtual seconds."""
        return self.ahead_s + (1 + self.drift) * asyncio.get_running_loop().time()

    async def sleep_until(self, time_s: float) -> None:
        """Returns at `time_s` exactly, plus `late_s`."""
        await asyncio.sleep(max(0.0, time_s + self.late_s - self.now()) / (1 + self.drift))

    def unix_s(self) -> float:
        """Virtual seconds since 1970."""
        return self.now()

    def cpu_s(self) -> float:
        """CPU seconds used."""
        return self.cpu_share * asyncio.get_running_loop().time()


@dataclass
class FakeServer:
    """An Endpoint that batches as a replica does, in the running loop's time.

    A core takes a batch when `max_batch` requests wait or the oldest has waited `wait_s`.

    Args:
        service_s: seconds that a batch of this size takes.
        max_batch: requests in a batch at most.
        wait_s: how long a batch waits to become full.
        cores: batches served at once.
        max_queue: requests that wait at most; others fail at once. None: no bound.
        fails: which requests fail when served, by the order of their arrival.
        stalls: (start, length) in seconds of the loop's time, during which no batch is started.
    """

    service_s: Callable[[int], float]
    max_batch: int = 1
    wait_s: float = 0.0
    cores: int = 1
    max_queue: int | None = None
    fails: Callable[[int], bool] = lambda number: False
    stalls: tuple[tuple[float, float], ...] = ()
    arrived_s: list[float] = field(default_factory=list)
    payloads: list[Payload] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0
    _queue: deque[tuple[float, int, asyncio.Future[None]]] = field(default_factory=deque)
    _busy: int = 0
    _ended: list[Batch] = field(default_factory=list)

    @property
    def peak_rps(self) -> float:
        """The most requests per second that it can ever answer."""
        return max(self.cores * batch / self.service_s(batch) for batch in range(1, self.max_batch + 1))

    async def infer(self, payload: Payload) -> Answer:
        """Answered when its batch is done.

        Raises:
            ConnectionError: injected, or the queue is full.
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
        return WHOLE

    async def usage(self) -> Usage:
        """What it did since the loop began; as many batches as it has cores may run at once."""
        return Usage(
            seconds=asyncio.get_running_loop().time(),
            batches=Counter(batch.size for batch in self._ended),
            busy_s=sum(batch.seconds for batch in self._ended),
            recent=tuple(self._ended[-RECENT:]),
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
        self._ended.append(Batch(len(batch), took_s))
        for _, number, answer in batch:
            if answer.done():
                continue
            if self.fails(number):
                answer.set_exception(ConnectionError(f"request {number} fails, as arranged"))
            else:
                answer.set_result(None)
        self._serve()
