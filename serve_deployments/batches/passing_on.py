"""Requests are passed on one by one: for models that batch for themselves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any


class PassingOn:
    """Calls the model for each request as it comes, whatever calls run already; the counterpart of `DynamicBatching`.

    Args:
        call: runs one call of the model, with one payload; returns one result.
    """

    def __init__(self, call: Callable[[list[Any]], Awaitable[list[Any]]]) -> None:
        self._call = call
        self._running = 0  # number of calls

    async def __call__(self, payload: Any) -> Any:
        """The result for this payload; raises what the model's call raises."""
        self._running += 1
        try:
            [row] = await self._call([payload])
        finally:
            self._running -= 1
        return row

    @property
    def idle(self) -> bool:
        """Whether no call runs."""
        return not self._running

    def refuse(self, error: Exception) -> None:
        """Does nothing: no request waits here."""
