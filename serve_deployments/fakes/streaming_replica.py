"""A fake server that answers in parts, like a language model, with exactly known times, in virtual time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from serve_deployments.endpoint import Answer, Payload
from serve_deployments.resources.usage import Usage


@dataclass
class FakeStreamingServer:
    """Serves up to `slots` requests at once, independently of one another; the others wait in the order of arrival.

    Args:
        first_s: seconds from the start of serving a request to the first part of its answer.
        part_s: seconds from one part to the next.
        parts: number of parts of each answer.
        slots: number of requests served at once.
    """

    first_s: float
    part_s: float
    parts: int
    slots: int = 1
    _free: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._free = asyncio.Semaphore(self.slots)

    @property
    def rest_s(self) -> float:
        """Seconds from the first part of an answer to its last."""
        return (self.parts - 1) * self.part_s

    async def infer(self, payload: Payload) -> Answer:
        """See `Endpoint`; the unit of `size_out` is parts."""
        now = asyncio.get_running_loop().time
        asked_s = now()
        async with self._free:
            await asyncio.sleep(self.first_s)
            first_after_s = now() - asked_s
            await asyncio.sleep(self.rest_s)
        return Answer(first_after_s, self.parts, size_out=self.parts)

    async def usage(self) -> Usage | None:
        """None: it does not report its usage."""
        return None
