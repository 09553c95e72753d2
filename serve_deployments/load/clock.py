"""The clock that load tests use, replaceable so that tests can run in virtual time."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Time and CPU time as a load test needs them; implemented by `RealClock` and by `fakes.VirtualClock`."""

    def now(self) -> float:
        """Monotonic time in seconds."""
        ...

    async def sleep_until(self, time_s: float) -> None:
        """Returns once `now()` is `time_s` or later; lets other tasks run even if that time has passed."""
        ...

    def unix_s(self) -> float:
        """Time of day, seconds since 1970."""
        ...

    def cpu_s(self) -> float:
        """CPU seconds that all threads of this process have used."""
        ...


class RealClock:
    """The machine's clocks. Timers of asyncio fire up to about 1 ms late (epoll's resolution is a millisecond)."""

    def now(self) -> float:
        """Monotonic time in seconds."""
        return time.monotonic()

    async def sleep_until(self, time_s: float) -> None:
        """Returns at `time_s` or later."""
        await asyncio.sleep(max(0.0, time_s - time.monotonic()))

    def unix_s(self) -> float:
        """Time of day, seconds since 1970."""
        return time.time()

    def cpu_s(self) -> float:
        """CPU seconds that this process has used."""
        return time.process_time()
