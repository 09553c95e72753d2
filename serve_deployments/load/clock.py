"""Time as the measuring sees it, so that tests can run it faster than it passes."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """What the measuring asks of the machine it runs on; `fakes.VirtualClock` is the other one."""

    def now(self) -> float:
        """Monotonic time in seconds."""
        ...

    async def sleep_until(self, time_s: float) -> None:
        """Returns at `time_s` of `now()` or later; lets others run even where that has passed."""
        ...

    def unix_s(self) -> float:
        """Time of day, seconds since 1970."""
        ...

    def cpu_s(self) -> float:
        """CPU seconds that this process has used, all its threads together."""
        ...


class RealClock:
    """The machine's clocks. Timers of asyncio fire up to about 1 ms late (epoll counts milliseconds)."""

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
